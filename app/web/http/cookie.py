"""The session cookie: who comes with it.

The cookie is signed and names the key; the key is looked up at each use, so revoking it ends its sessions at once.
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


def caller_of_cookie(joined: Engine) -> tuple[Caller, str, float] | None:
    """Whose session came with this request, the workspace that it was signed in for ('' for none), and its end.
    The end is in Unix seconds.

    Raises Problem forbidden for a request that a page of another origin made: cookies go along with those too.
    """
    claims = tokens.read(signing_keys(joined.settings), tokens.SESSION, request.cookies.get(COOKIE, ""), time.time())
    caller = joined.callers.caller_of_key(str(claims["sub"])) if claims is not None else None
    if claims is None or caller is None:
        return None
    origin = request.headers.get("Origin")
    own = (request.host, urlsplit(joined.settings.public_url).netloc)  # a proxy may have rewritten Host
    if origin is not None and urlsplit(origin).netloc not in own:
        raise Problem("forbidden", "A page of another origin may not use this session; use a stream token there.")
    return caller, str(claims["ws"]), float(claims["exp"])
