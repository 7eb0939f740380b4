"""The session cookie, and whose it is.

The cookie is signed and names a key. The key is looked up at each use, so revoking it ends its sessions at once.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from flask import request

from app.accounts.callers import Caller
from app.accounts.sessions import signing_keys
from app.core import tokens
from app.core.problem import Problem
from app.web.engine import Engine

COOKIE = "twofold_session"


def caller_of_cookie(engine: Engine) -> tuple[Caller, str, float] | None:
    """Whose session came with this request: (caller, workspace id or "" if it signed in for none, end in Unix seconds).

    Raises Problem forbidden for a request that a page of another origin made: cookies go along with those too.
    """
    claims = tokens.read(signing_keys(engine.settings), tokens.SESSION, request.cookies.get(COOKIE, ""), time.time())
    caller = engine.callers.caller_of_key(str(claims["sub"])) if claims is not None else None
    if claims is None or caller is None:
        return None
    origin = request.headers.get("Origin")
    own = (request.host, urlsplit(engine.settings.public_url).netloc)  # a proxy may have rewritten Host
    if origin is not None and urlsplit(origin).netloc not in own:
        raise Problem("forbidden", "A page of another origin may not use this session; use a stream token there.")
    return caller, str(claims["ws"]), float(claims["exp"])
