"""/v1/session: a cookie that stands for a key, for pages and for streams that take the console's cookie."""

from __future__ import annotations

from flask import Blueprint, Response

from app.accounts import sessions
from app.core import tokens
from app.web.engine import engine
from app.web.http.call import OPTIONAL_WORKSPACE, Call
from app.web.http.cookie import COOKIE, session_of_cookie
from app.web.http.routes import open_route, route

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
    with call.engine.database.begin() as connection:
        session_id, expires_at = sessions.begin(connection, call.caller.key_id, call.workspace_id)
    cookie = tokens.sign(
        sessions.signing_keys(settings)[0], tokens.SESSION, {"jti": session_id}, int(expires_at.timestamp())
    )
    response = Response(status=204)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=sessions.LIFE_SECONDS,
        httponly=True,
        secure=settings.public_url.startswith("https:"),
        samesite="Lax",
    )
    return response


@open_route(
    api,
    "DELETE",
    "/v1/session",
    why="the session cookie itself says whose session ends",
    answers={204: ""},
    refusals=("forbidden", "unavailable"),
    summary="Sign out: end the session of the cookie that comes with the request",
)
def sign_out() -> Response:
    current = engine()
    if session := session_of_cookie(current):
        with current.database.begin() as connection:
            sessions.end(connection, session.id)
    response = Response(status=204)
    response.delete_cookie(COOKIE)
    return response
