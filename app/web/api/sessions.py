"""/v1/session: a cookie that stands for a key, for pages and for streams that take the console's cookie."""

from __future__ import annotations

import time

from flask import Blueprint, Response

from app.accounts.sessions import LIFE_SECONDS, signing_keys
from app.core import tokens
from app.web.http.call import OPTIONAL_WORKSPACE, Call
from app.web.http.cookie import COOKIE
from app.web.http.routes import route

api = Blueprint("sessions", __name__)


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
    settings = call.engine.settings
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
