"""/v1/tokens/verify: what a token of a stream or of the feed opens, for proxies that stand before them."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint

from app.core.tokens import MAX_LENGTH
from app.core.wire.envelope import rfc3339
from app.live import tokens
from app.live.feed.tokens import FeedToken, find_token
from app.web.http.call import OPTIONAL_WORKSPACE, Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route

api = Blueprint("tokens", __name__)

TOKEN = Field(
    "token",
    "text",
    "the text that came as a token of a stream, or of the feed",
    required=True,
    shortest=1,
    longest=MAX_LENGTH,
    example="eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJqdGkiOiJ0b2tfMDEifQ.c2lnbmF0dXJl",
)
_INACTIVE = {"active": False}


@route(
    api,
    "POST",
    "/v1/tokens/verify",
    scope="subscribe",
    acts_for=OPTIONAL_WORKSPACE,
    body=(TOKEN,),
    transaction=False,
    answers={200: "VerifiedToken"},
    summary="Ask whether a token may be used now, and what it opens: for proxies (RFC 7662, in JSON)",
)
def verify_token(call: Call) -> Answer:
    """A workspace's key learns of that workspace's tokens; a platform key of all, or of the workspace that it names."""
    found = tokens.verified(call.engine.database, call.engine.settings, call.body["token"])
    if found is None:
        return _of_feed(call, find_token(call.engine.database, call.engine.settings, call.body["token"]))
    claims, row = found
    if call.workspace_id and row.workspace_id != call.workspace_id:
        return Answer(_INACTIVE)  # as any other text: nothing tells that it is somebody else's
    return Answer(
        {
            "active": True,
            "token_type": "stream",
            "scope": "subscribe publish" if "publish" in row.scopes else "subscribe",
            "jti": claims.id,
            "client_id": row.key_id,
            "exp": claims.expires_at,
            "expires_at": rfc3339(datetime.fromtimestamp(claims.expires_at, UTC)),
            "workspace_id": row.workspace_id,
            "stream": {"kind": claims.kind, "id": claims.stream_id},
        }
    )


def _of_feed(call: Call, found: FeedToken | None) -> Answer:
    if found is None or (call.workspace_id and found.workspace_id != call.workspace_id):
        return Answer(_INACTIVE)
    return Answer(
        {
            "active": True,
            "token_type": "feed",
            "scope": "subscribe",
            "jti": found.id,
            "client_id": found.key_id,
            "exp": int(found.expires_at.timestamp()),
            "expires_at": rfc3339(found.expires_at),
            "workspace_id": found.workspace_id,
            "streams": found.streams,
            "kinds": found.kinds,
        }
    )
