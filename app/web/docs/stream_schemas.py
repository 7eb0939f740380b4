"""What the API answers of streams, the feed and their tokens, as JSON Schema (2020-12) by name."""

from __future__ import annotations

from app.core import ids
from app.web.docs.parts import ANY_OBJECT, COUNT, NUMBER, TEXT, TIME, Schema, list_of, one_of, or_null, record
from app.web.http import shapes

STREAM_NAME = record("A stream's name.", {"kind": shapes.KIND, "id": shapes.STREAM_ID})
_FEED_SET: Schema = {
    "streams": or_null({"type": "array", "items": TEXT})
    | {"description": "it opens only these streams, each as kind:id; null: every stream of `kinds`"},
    "kinds": or_null({"type": "array", "items": shapes.KIND})
    | {"description": "it opens only streams of these kinds; null: every kind of `streams`"},
}

STREAMS: dict[str, Schema] = {
    "Stream": record(
        "A live subject. One that has ended still takes the types that a contract names as late: last_seq may grow.",
        {
            "kind": shapes.KIND,
            "id": shapes.STREAM_ID,
            "status": one_of("open", "ended"),
            "attributes": ANY_OBJECT,
            "last_seq": COUNT,
            "created_at": TIME,
            "ended_at": or_null(TIME),
        },
    ),
    "StreamList": list_of("Stream"),
    "Token": record(
        "A short-lived key to one stream.",
        {
            "id": shapes.id_of(ids.TOKEN),
            "url": TEXT | {"format": "uri", "description": "the live stream; a browser adds ?token="},
            "token": TEXT,
            "expires_at": TIME,
        },
    ),
    "FeedToken": record(
        "A short-lived key to the live feed of some streams, or kinds of streams.",
        {
            "id": shapes.id_of(ids.TOKEN),
            "url": TEXT | {"format": "uri", "description": "the live feed; a browser adds ?token="},
            "token": TEXT,
            "expires_at": TIME,
            **_FEED_SET,
        },
    ),
    "FeedTokenInfo": record(
        "A token of the feed, without its text.",
        {
            "id": shapes.id_of(ids.TOKEN),
            "key_id": shapes.id_of(ids.KEY),
            "created_at": TIME,
            "expires_at": TIME,
            **_FEED_SET,
        },
    ),
    "FeedTokenList": list_of("FeedTokenInfo"),
    "TokenInfo": record(
        "A token, without its text.",
        {
            "id": shapes.id_of(ids.TOKEN),
            "key_id": shapes.id_of(ids.KEY),
            "created_at": TIME,
            "expires_at": TIME,
        },
    ),
    "VerifiedToken": record(
        "Whether a token may be used now, and if so, what it opens (RFC 7662, section 2.2): one of a stream has"
        " `stream`, one of the feed `streams` and `kinds`. A text that is no"
        " token, one that has expired or was revoked, and one of another workspace all have `active: false` and no"
        " other member.",
        {"active": {"type": "boolean"}},
        {
            "token_type": one_of("stream", "feed"),
            "scope": TEXT | {"description": "what the key that made it may do with the stream, separated by spaces"},
            "jti": shapes.id_of(ids.TOKEN),
            "client_id": shapes.id_of(ids.KEY) | {"description": "the key that made it"},
            "exp": NUMBER | {"description": "when it expires, in seconds since 1970"},
            "expires_at": TIME,
            "workspace_id": shapes.id_of(ids.WORKSPACE),
            "stream": STREAM_NAME,
            **_FEED_SET,
        },
    ),
    "TokenList": list_of("TokenInfo"),
}
