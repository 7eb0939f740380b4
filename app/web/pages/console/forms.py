"""Form tokens: a form that we have given to this session, and not a page of somebody else, is what was sent.

Also the cookies that they are bound to: the session's, and before there is one, that of the sign-in page.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from flask import Request, Response

from app.accounts.sessions import LIFE_SECONDS, signing_keys
from app.core import sealing, tokens
from app.core.problem import Problem
from app.settings import Settings
from app.web.http.bodies import read_bytes

COOKIE, SIGN_IN_COOKIE = "twofold_console", "twofold_sign_in"
PATH = "/console"  # the cookies go nowhere else: the API never sees them
FIELD = "form_token"
_AUDIENCE = "console"
_PURPOSE = "form tokens"
MOST_BYTES = 16 * 1024  # most forms are a few fields
_MOST_FIELDS = 50
_SIGN_IN_SECONDS = 3600  # in which a sign-in page that was opened may be used


def session_cookie(settings: Settings, session_id: str, expires_at: datetime) -> str:
    """The signed cookie that names a session."""
    return tokens.sign(signing_keys(settings)[0], _AUDIENCE, {"jti": session_id}, int(expires_at.timestamp()))


def session_id_of(settings: Settings, request: Request) -> str | None:
    """The session that a request's cookie names, if we have signed it. Whether it goes on is for its row to say."""
    sent = request.cookies.get(COOKIE, "")
    claims = tokens.read(signing_keys(settings), _AUDIENCE, sent, now=-math.inf)
    return None if claims is None else str(claims["jti"])


def set_cookie(response: Response, settings: Settings, name: str, value: str) -> None:
    """Set a cookie that no script reads and that no foreign page's form brings along."""
    response.set_cookie(
        name,
        value,
        max_age=LIFE_SECONDS if name == COOKIE else _SIGN_IN_SECONDS,
        path=PATH,
        httponly=True,
        secure=settings.public_url.startswith("https:"),
        samesite="Lax",  # not Strict: a link in a message should find its reader signed in
    )


def clear_cookie(response: Response, name: str) -> None:
    """Take a cookie back."""
    response.delete_cookie(name, path=PATH)


def new_sign_in_mark() -> str:
    """A value for the sign-in page's cookie."""
    return secrets.token_urlsafe(24)


def token_for(settings: Settings, bound_to: str) -> str:
    """The form token of a session id, or of the sign-in page's cookie."""
    return _token(settings.secret_key, bound_to)


def check_token(settings: Settings, bound_to: str, given: str) -> None:
    """Raises Problem forbidden unless the form is one that we gave to this session."""
    sent = given.encode("utf-8", "replace")
    made = [_token(key, bound_to).encode() for key in settings.secret_keys]
    if not bound_to or sum(hmac.compare_digest(one, sent) for one in made) == 0:
        raise Problem("forbidden", "This form is out of date. Go back, load the page again, and send it once more.")


def check_origin(settings: Settings, request: Request) -> None:
    """Raises Problem forbidden for a form of another site's page."""
    origin = request.headers.get("Origin")
    own = (request.host, urlsplit(settings.public_url).netloc)  # a proxy may have rewritten Host
    if origin is not None and urlsplit(origin).netloc not in own:
        raise Problem("forbidden", "This form was sent by a page of another site.")


def read_form(request: Request, most_bytes: int = MOST_BYTES) -> dict[str, str]:
    """The fields of a form; of a repeated one the last. Raises Problem."""
    raw = read_bytes(request, most_bytes)
    if request.mimetype != "application/x-www-form-urlencoded":
        raise Problem("unsupported_media_type", "Forms are sent as application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Problem("bad_request", "The form cannot be read.") from None
    return {name: value.replace("\0", "") for name, value in pairs}


def _token(secret_key: str, bound_to: str) -> str:
    key = sealing.derive(secret_key, _PURPOSE)
    return hmac.new(key, bound_to.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
