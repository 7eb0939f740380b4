"""Who opens a stream: by a key or a stream token, wherever the contract's route lets it stand."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import request

from app.accounts.callers import Caller
from app.core import tokens
from app.core.contract.model import ContractRoute
from app.core.problem import Problem
from app.live import tokens as stream_tokens
from app.web.engine import engine
from app.web.http.cookie import caller_of_cookie


@dataclass(frozen=True, slots=True)
class Opener:
    """Who was let in. expires_at: Unix seconds; kind, stream_id: the one stream that a token opens."""

    key_id: str
    workspace_id: str
    token_id: str | None = None
    expires_at: float | None = None
    kind: str | None = None
    stream_id: str | None = None
    may_publish: bool = False

    def check_stream(self, kind: str, stream_id: str) -> None:
        """Raises Problem unauthorized when the token is for another stream."""
        if self.token_id is not None and (self.kind, self.stream_id) != (kind, stream_id):
            raise Problem("unauthorized", "This token opens another stream; mint one for this stream.")


def opener(route: ContractRoute) -> Opener:
    """Who is calling this route. Raises Problem unauthorized or forbidden."""
    found = _given(route)
    if found is None and "session:cookie" in route.credentials and (signed_in := caller_of_cookie(engine())):
        return _by_session(*signed_in)
    if found is None:
        raise Problem("unauthorized", f"A credential is missing: send {ways(route)}.")
    what, secret = found
    return _by_token(secret) if what == "token" else _by_key(secret)


def _given(route: ContractRoute) -> tuple[str, str] | None:
    """The first credential in a place that the route knows: (key or token, its text)."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    places = {
        "bearer": bearer.strip() if scheme.lower() == "bearer" else "",
        "x-api-key": request.headers.get("X-API-Key", "").strip(),
        "query": request.args.get("token", ""),
    }
    for where, secret in places.items():
        if secret and any(way.endswith(f":{where}") for way in route.credentials):
            what = "token" if tokens.looks_like(secret) else "key"
            if f"{what}:{where}" not in route.credentials:
                raise Problem("unauthorized", f"A {what} is not taken there; send {ways(route)}.")
            return what, secret
    return None


def _by_key(secret: str) -> Opener:
    callers = engine().callers
    caller = callers.authenticate(secret)
    if caller is None:
        raise Problem("unauthorized", "This key is not known, or it has been revoked.")
    caller.require("subscribe")
    workspace_id = callers.workspace_for(caller, request.headers.get("X-Workspace"))
    return Opener(caller.key_id, workspace_id, may_publish="publish" in caller.scopes)


def _by_session(caller: Caller, workspace_id: str, expires_at: float) -> Opener:
    caller.require("subscribe")
    named = engine().callers.workspace_for(caller, request.headers.get("X-Workspace") or workspace_id)
    return Opener(caller.key_id, named, expires_at=expires_at, may_publish="publish" in caller.scopes)


def _by_token(secret: str) -> Opener:
    joined = engine()
    claims = tokens.decode(stream_tokens.signing_keys(joined.settings), secret, time.time())
    row = None
    if claims is not None:
        with joined.database.begin() as connection:
            row = stream_tokens.usable_token(connection, claims.id)
    if claims is None or row is None:
        raise Problem("unauthorized", "This token is not valid, or it has expired; mint a fresh one.")
    return Opener(
        row.key_id,
        row.workspace_id,
        claims.id,
        float(claims.expires_at),
        claims.kind,
        claims.stream_id,
        may_publish="publish" in row.scopes,
    )


_WAYS = {
    "key:bearer": "Authorization: Bearer <key>",
    "key:x-api-key": "X-API-Key: <key>",
    "key:query": "?token=<key>",
    "token:bearer": "Authorization: Bearer <stream token>",
    "token:query": "?token=<stream token>",
    "session:cookie": "the console's session cookie",
}


def ways(route: ContractRoute) -> str:
    """What a route takes, in words."""
    return " or ".join(_WAYS[way] for way in route.credentials)
