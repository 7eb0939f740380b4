"""The portal's session cookie. It names a session's row; whether that goes on is for the row to say.

In a frame of another site a browser sends it only when it is SameSite=None, Secure and Partitioned (CHIPS): it is so
when PORTAL_FRAME_ORIGINS names such sites, and is then kept apart for each of them. Else it is Lax.
"""

from __future__ import annotations

import math
from datetime import datetime

from flask import Request, Response

from app.accounts.sessions import signing_keys
from app.core import tokens
from app.settings import Settings

COOKIE = "twofold_portal"
PATH = "/portal"  # it goes nowhere else: neither the API nor the console sees it
_AUDIENCE = "portal"


def session_cookie(settings: Settings, session_id: str, expires_at: datetime) -> str:
    """The signed value that names a session."""
    return tokens.sign(signing_keys(settings)[0], _AUDIENCE, {"jti": session_id}, int(expires_at.timestamp()))


def session_id_of(settings: Settings, request: Request) -> str | None:
    """The session that a request's cookie names, if we have signed it."""
    claims = tokens.read(signing_keys(settings), _AUDIENCE, request.cookies.get(COOKIE, ""), now=-math.inf)
    return None if claims is None else str(claims["jti"])


def set_cookie(response: Response, settings: Settings, value: str) -> None:
    """Set the cookie; no script reads it."""
    framed = bool(settings.portal_frame_origins)
    response.set_cookie(
        COOKIE,
        value,
        max_age=settings.portal_session_seconds,
        path=PATH,
        httponly=True,
        secure=framed or settings.public_url.startswith("https:"),
        samesite="None" if framed else "Lax",
        partitioned=framed,
    )


def clear_cookie(response: Response, settings: Settings) -> None:
    """Take the cookie back, from the jar that it is in."""
    framed = bool(settings.portal_frame_origins)
    response.delete_cookie(
        COOKIE,
        path=PATH,
        secure=framed,
        samesite="None" if framed else "Lax",
        partitioned=framed,
    )
