"""Who opens a stream: by a key, a stream token or a session, in the places that the contract's route allows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flask import request

from app.accounts.callers import Caller
from app.accounts.sessions import SignedIn
from app.core import tokens
from app.core.contract.model import ContractRoute
from app.core.problem import Problem
from app.live import tokens as stream_tokens
from app.web.engine import Engine
from app.web.http.cookie import session_of_cookie
from app.web.http.reading import sent_secrets


@dataclass(frozen=True, slots=True)
class Opener:
    """Who was let in. life_seconds: what is left of the credential's time, None for a key; kind, stream_id: the one
    stream that a token opens."""

    key_id: str
    workspace_id: str
    token_id: str | None = None
    life_seconds: float | None = None
    kind: str | None = None
    stream_id: str | None = None
    may_publish: bool = False
    session_id: str | None = None

    def check_stream(self, kind: str, stream_id: str) -> None:
        """Raises Problem unauthorized when the token is for another stream."""
        if self.token_id is not None and (self.kind, self.stream_id) != (kind, stream_id):
            raise Problem("unauthorized", "This token opens another stream; mint one for this stream.")


def opener_of(engine: Engine, route: ContractRoute) -> Opener:
    """Who is calling this route. Raises Problem unauthorized or forbidden."""
    sent = _sent(route)
    if sent is not None:
        what, secret = sent
        return _by_token(engine, secret) if what == "token" else _by_key(engine, secret)
    if "session:cookie" in route.credentials and (session := session_of_cookie(engine)):
        return _by_session(engine, session)
    raise Problem("unauthorized", f"A credential is missing: send {ways(route)}.")


def _sent(route: ContractRoute) -> tuple[str, str] | None:
    """The first credential in a place that the route looks at: ("key" or "token", its text)."""
    secrets = sent_secrets(request)
    places = {"bearer": secrets.bearer, "x-api-key": secrets.api_key, "query": request.args.get("token", "")}
    for where, secret in places.items():
        if secret and any(way.endswith(f":{where}") for way in route.credentials):
            what = "token" if tokens.looks_like(secret) else "key"
            if f"{what}:{where}" not in route.credentials:
                raise Problem("unauthorized", f"A {what} is not taken there; send {ways(route)}.")
            return what, secret
    return None


def _by_key(engine: Engine, secret: str) -> Opener:
    caller = engine.callers.authenticate(secret)
    if caller is None:
        raise Problem("unauthorized", "This key is not known, or it has been revoked.")
    return _by_caller(engine, caller, request.headers.get("X-Workspace"))


def _by_session(engine: Engine, session: SignedIn) -> Opener:
    opener = _by_caller(engine, session.caller, request.headers.get("X-Workspace") or session.workspace_id)
    return replace(opener, session_id=session.id, life_seconds=session.life_seconds)


def _by_caller(engine: Engine, caller: Caller, workspace: str | None) -> Opener:
    """workspace: the id or uid that the caller names, if any."""
    caller.require("subscribe")
    workspace_id = engine.callers.workspace_for(caller, workspace)
    return Opener(caller.key_id, workspace_id, may_publish="publish" in caller.scopes)


def _by_token(engine: Engine, secret: str) -> Opener:
    verified = stream_tokens.verified(engine.database, engine.settings, secret)
    if verified is None:
        raise Problem("unauthorized", "This token is not valid, or it has expired; mint a fresh one.")
    claims, row = verified
    return Opener(
        row.key_id,
        row.workspace_id,
        claims.id,
        claims.expires_at - row.now,
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
    """The credentials that a route takes, in words."""
    return " or ".join(_WAYS[way] for way in route.credentials)
