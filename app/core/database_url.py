"""PostgreSQL's URL, which says whether a pooler stands between that gives each transaction some connection of the
server, as PgBouncer does in transaction mode.

`?pooler=transaction` in it says that there is one. Then nothing is asked of a session: a connection does not begin with
settings, and no statement is kept under a name. Nothing else here needs a session: no LISTEN, no lock and no table of a
session's own; what a function needs of the planner or of lock time-outs, it sets itself.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

PARAMETER, TRANSACTION = "pooler", "transaction"


def without_pooler(database_url: str) -> tuple[str, bool]:
    """The URL as libpq knows it, and whether a pooler stands between.

    Raises ValueError: it works in a way that we know nothing of.
    """
    parts = urlsplit(database_url)
    if f"{PARAMETER}=" not in parts.query:
        return database_url, False
    query = parse_qsl(parts.query, keep_blank_values=True)
    how = [value for name, value in query if name == PARAMETER]
    if how != [TRANSACTION]:
        raise ValueError(f"{PARAMETER} must be {TRANSACTION}, where it is given")
    left = urlencode([(name, value) for name, value in query if name != PARAMETER])
    return urlunsplit(parts._replace(query=left)), True
