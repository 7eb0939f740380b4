"""/v1/feed/tokens: short-lived tokens that open the live feed for some streams, or kinds of streams."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint
from sqlalchemy import Row

from app.core import ids
from app.core.feed.wanted import Wanted, stream_names
from app.core.problem import Problem
from app.core.wire.envelope import rfc3339
from app.live.feed import tokens
from app.web.api.feed import FILTERS, wanted_of
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.routes import route

api = Blueprint("feed_tokens", __name__)

SET = FILTERS[:2]  # streams and kinds


@route(
    api,
    "POST",
    "/v1/feed/tokens",
    scope="subscribe",
    body=SET,
    answers={201: "FeedToken"},
    refusals=("too_many",),
    summary="Make a short-lived token that opens the live feed of some streams, or kinds of streams: for browsers",
)
def make_feed_token(call: Call) -> Answer:
    """Streams need not exist yet. Of both, what is one of these streams and of one of these kinds."""
    wanted = wanted_of(call.body)
    if wanted == Wanted():
        raise Problem("invalid", "Name streams or kinds: a token opens what it names, and never everything.")
    settings = call.engine.settings
    named = {
        "streams": None if wanted.streams is None else stream_names(wanted.streams),
        "kinds": None if wanted.kinds is None else sorted(wanted.kinds),
    }
    made = tokens.make_token(
        call.session.connection(), settings, workspace_id=call.workspace_id, key_id=call.caller.key_id, **named
    )
    return Answer(
        {
            "id": made.id,
            "url": f"{settings.public_url}/v1/feed/live",
            "token": made.text,
            "expires_at": rfc3339(made.expires_at),
            **named,
        },
        201,
    )


@route(
    api,
    "GET",
    "/v1/feed/tokens",
    scope="subscribe",
    query=paging.PAGE,
    answers={200: "FeedTokenList"},
    summary="List the tokens of the live feed that work, newest first",
)
def list_feed_tokens(call: Call) -> Answer:
    read = partial(tokens.list_tokens, call.session.connection(), call.workspace_id)
    return Answer(paging.newest_first(call.args, ids.TOKEN, read, _shown))


@route(
    api,
    "DELETE",
    "/v1/feed/tokens/{feed_token_id}",
    scope="subscribe",
    answers={204: ""},
    summary="Revoke a token of the live feed; what it opened is closed within seconds",
)
def revoke_feed_token(call: Call, feed_token_id: str) -> Answer:
    tokens.revoke_token(call.session.connection(), call.workspace_id, feed_token_id)
    return Answer(None, 204)


def _shown(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "key_id": row.key_id,
        "streams": row.streams,
        "kinds": row.kinds,
        "created_at": rfc3339(row.created_at),
        "expires_at": rfc3339(row.expires_at),
    }
