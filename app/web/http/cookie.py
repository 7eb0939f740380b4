"""The session cookie, and whose it is.

The cookie is signed and names a session's row. The row is looked up at each use together with its key, so signing out
or revoking the key ends it at once.
"""

from __future__ import annotations

import math
from urllib.parse import urlsplit

from flask import request

from app.accounts import sessions
from app.accounts.sessions import SignedIn, signing_keys
from app.core import tokens
from app.core.problem import Problem
from app.web.engine import Engine

COOKIE = "twofold_session"


def session_of_cookie(engine: Engine) -> SignedIn | None:
    """The session that came with this request, if it goes on.

    Raises Problem forbidden for a request that a page of another origin made: cookies go along with those too.
    """
    # Whether its time is over is judged with the row, by the database's clock, which began it.
    sent = request.cookies.get(COOKIE, "")
    claims = tokens.read(signing_keys(engine.settings), tokens.SESSION, sent, now=-math.inf)
    if claims is None:
        return None
    with engine.database.begin() as connection:
        session = sessions.read(connection, str(claims["jti"]))
    if session is None:
        return None
    origin = request.headers.get("Origin")
    own = (request.host, urlsplit(engine.settings.public_url).netloc)  # a proxy may have rewritten Host
    if origin is not None and urlsplit(origin).netloc not in own:
        raise Problem("forbidden", "A page of another origin may not use this session; use a stream token there.")
    return session
