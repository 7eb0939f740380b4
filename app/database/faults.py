"""Whose fault an error of the database is: the request's, or that of a database that does not do its work now.

Source of the classes: PostgreSQL's documentation, appendix A, "PostgreSQL Error Codes".
"""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError, OperationalError

# data exception; integrity constraint violation
REQUESTS_CLASSES = ("22", "23")
NO_PARTITION = "23514"  # check_violation, without the name of a constraint: "no partition of relation … found for row"
LOCK_NOT_AVAILABLE = "55P03"
OTHER_SERVER = "TF001"  # ours: accept_events.sql


def sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's code of the error; None when it does not come from the server."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def is_requests_fault(error: DBAPIError) -> bool:
    """Whether the same request would be refused again by a database in perfect order.

    Everything else (a connection lost, a read-only server after a fail-over, a full disk, a lock, a table that is not
    migrated yet) passes or is mended by somebody else: the request or row is kept and tried again.
    """
    state = sqlstate(error)
    if state is None:
        return isinstance(error, DataError)  # a value that the driver cannot send, such as text with a NUL
    return state[:2] in REQUESTS_CLASSES and not lacks_partition(error)


def lacks_partition(error: DBAPIError) -> bool:
    """Whether a row found no partition for its time."""
    if sqlstate(error) != NO_PARTITION:
        return False
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None) is None


def is_lock_timeout(error: DBAPIError) -> bool:
    """Whether somebody else held a lock for longer than lock_timeout."""
    return sqlstate(error) == LOCK_NOT_AVAILABLE


def is_other_server(error: DBAPIError) -> bool:
    """Whether the server is another than the one whose history the statement named."""
    return sqlstate(error) == OTHER_SERVER


def may_pass(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is tried again at once, on another connection perhaps."""
    return isinstance(error, OperationalError) or error.connection_invalidated
