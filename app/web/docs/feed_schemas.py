"""What the API answers of the feed, as JSON Schema by name."""

from __future__ import annotations

from app.web.docs.parts import COUNT, TEXT, TEXTS, TIME, Schema, list_of, or_null, record, ref
from app.web.http import shapes

_FEED_CURSOR: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "minLength": 1}
_FEED_PLACE: Schema = {"name": TEXT, "cursor": _FEED_CURSOR, "committed_at": or_null(TIME)}
_FEED_CONSUMER: Schema = _FEED_PLACE | {
    **dict.fromkeys(("streams", "kinds", "types"), or_null(TEXTS)),
    "content_filter": {"type": ["object", "null"], **shapes.FILTER},
    "leased_until": or_null(TIME) | {"description": "until then somebody reads; null: nobody"},
    "lag": record(
        "What lies behind its place in the feed of the workspace, before its filters.",
        {
            "events": COUNT,
            "at_least": {"type": "boolean", "description": "whether there may be more than `events`"},
            "seconds": {"type": "number", "description": "how long ago the first of them was stored"},
        },
    ),
    "created_at": TIME,
    "read_at": or_null(TIME),
}

FEED: dict[str, Schema] = {
    "FeedPlace": record("Where a consumer of the feed is.", _FEED_PLACE),
    "FeedConsumer": record("A consumer of the feed.", _FEED_CONSUMER),
    "FeedConsumerList": list_of("FeedConsumer"),
    "FeedLease": record(
        "The next events of a consumer. Commit the lease when they are handled; without a commit they are read again"
        " when it is over. Without events there is no lease, and nothing to commit.",
        {
            "lease": or_null(TEXT),
            "leased_until": or_null(TIME),
            "data": {"type": "array", "items": record("An event.", {"cursor": _FEED_CURSOR, "event": ref("Event")})},
            "cursor": _FEED_CURSOR,
            "more": {"type": "boolean", "description": "whether there may be more at once"},
        },
    ),
    "FeedPage": record(
        "Events of the workspace in the order of the feed. `cursor` is where to go on, also when there is no event;"
        " `more`: whether there may be more at once.",
        {
            "data": {"type": "array", "items": record("An event.", {"cursor": _FEED_CURSOR, "event": ref("Event")})},
            "cursor": _FEED_CURSOR,
            "more": {"type": "boolean"},
        },
    ),
}
