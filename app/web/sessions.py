"""Sessions of people: a cookie that stands for a key, for pages and for streams that take the console's cookie.

The cookie is signed and names the key; the key is looked up at each use, so revoking it ends its sessions at once.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from flask import Blueprint, Response, request

from app.access import Caller
from app.core import sealing, tokens
from app.core.problem import Problem
from app.settings import Settings
from app.web.auth import OPTIONAL_WORKSPACE, Call, route
from app.web.parts import Parts

api = Blueprint("sessions", __name__)

COOKIE = "twofold_session"
LIFE_SECONDS = 12 * 3600  # a working day; then the person signs in again
_PURPOSE = "signing sessions"


def signing_keys(settings: Settings) -> list[bytes]:
    """The keys that session cookies may be signed with, the present one first."""
    return [sealing.derive(material, _PURPOSE) for material in settings.secret_keys]


def caller_of_cookie(joined: Parts) -> tuple[Caller, str, float] | None:
    """Whose session came with this request, the workspace that it was signed in for ('' for none), and its end.
    The end is in Unix seconds.

    Raises Problem forbidden for a request that a page of another origin made: cookies go along with those too.
    """
    claims = tokens.read(signing_keys(joined.settings), tokens.SESSION, request.cookies.get(COOKIE, ""), time.time())
    caller = joined.access.caller_of_key(str(claims["sub"])) if claims is not None else None
    if claims is None or caller is None:
        return None
    origin = request.headers.get("Origin")
    own = (request.host, urlsplit(joined.settings.public_url).netloc)  # a proxy may have rewritten Host
    if origin is not None and urlsplit(origin).netloc not in own:
        raise Problem("forbidden", "A page of another origin may not use this session; use a stream token there.")
    return caller, str(claims["ws"]), float(claims["exp"])


@route(
    api,
    "POST",
    "/v1/session",
    scope="subscribe",
    acts_for=OPTIONAL_WORKSPACE,
    body=(),
    transaction=False,
    answers={204: ""},
    summary="Sign in: exchange a key for a session cookie",
)
def sign_in(call: Call) -> Response:
    settings = call.parts.settings
    expires_at = int(time.time()) + LIFE_SECONDS
    claims: dict[str, str | int] = {"sub": call.caller.key_id, "ws": call.workspace_id}
    response = Response(status=204)
    response.set_cookie(
        COOKIE,
        tokens.sign(signing_keys(settings)[0], tokens.SESSION, claims, expires_at),
        max_age=LIFE_SECONDS,
        httponly=True,
        secure=settings.public_url.startswith("https:"),
        samesite="Lax",
    )
    return response


@route(
    api,
    "DELETE",
    "/v1/session",
    scope="subscribe",
    acts_for=OPTIONAL_WORKSPACE,
    transaction=False,
    answers={204: ""},
    summary="Sign out: forget the session cookie",
)
def sign_out(call: Call) -> Response:
    response = Response(status=204)
    response.delete_cookie(COOKIE)
    return response
