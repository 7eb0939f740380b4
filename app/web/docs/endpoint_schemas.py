"""What the API answers of endpoints, as JSON Schema by name."""

from __future__ import annotations

from app.core import ids
from app.core.event import names
from app.delivery import endpoint_history
from app.delivery.lane_rows import MOST_COUNTED
from app.delivery.reads import STATUSES
from app.web.docs.parts import COUNT, NULL, NUMBER, TEXT, TEXTS, TIME, Schema, list_of, one_of, or_null, record
from app.web.http import shapes

_SECRET_TEXT = shapes.matching("whsec_[A-Za-z0-9+/]+=*", description="verifies the v1 signatures")
_PUBLIC_KEY_TEXT = shapes.matching("whpk_[A-Za-z0-9+/]+=*", description="verifies the v1a signatures")
_ENDPOINT: Schema = {
    "id": shapes.id_of(ids.ENDPOINT),
    "uid": or_null(shapes.matching(names.UID)),
    "url": TEXT,
    "description": TEXT,
    "metadata": {"type": "object", "additionalProperties": TEXT},
    "status": one_of("enabled", "disabled"),
    "disabled_reason": or_null(TEXT),
    "disabled_at": or_null(TIME),
    "event_types": or_null(TEXTS),
    "stream_kinds": or_null(TEXTS),
    "channels": or_null(TEXTS),
    "content_filter": {"type": ["object", "null"], **shapes.FILTER},
    "header_names": TEXTS,
    "rate_limit": or_null(NUMBER),
    "timeout_seconds": or_null(NUMBER),
    "retry_delays_seconds": or_null({"type": "array", "items": NUMBER}),
    "feed_cursor": {"type": "boolean"},
    "order": {"enum": ["stream", None]},
    "order_patience_seconds": or_null(NUMBER),
    "batch": {
        "anyOf": [
            record("Several events in one request.", {"max_events": NUMBER, "max_wait_ms": NUMBER}),
            NULL,
        ],
        "description": "null: each event in a request of its own",
    },
    "signing": one_of("hmac", "ed25519"),
    "consecutive_failures": COUNT,
    "failing_since": or_null(TIME),
    "created_at": TIME,
    "updated_at": TIME,
}
_SECRET: Schema = {
    "secret": _SECRET_TEXT,
    "former": {
        "type": "array",
        "description": "rotated secrets, which also sign until expires_at",
        "items": record(
            "A former secret.", {"expires_at": TIME}, {"secret": _SECRET_TEXT, "public_key": _PUBLIC_KEY_TEXT}
        ),
    },
}
_PUBLIC_KEY: Schema = {"public_key": _PUBLIC_KEY_TEXT}

ENDPOINTS: dict[str, Schema] = {
    "Endpoint": record("A registered webhook URL.", _ENDPOINT),
    "EndpointWithSecret": record("A new endpoint and its secret.", _ENDPOINT | _SECRET, _PUBLIC_KEY),
    "EndpointList": list_of("Endpoint"),
    "Secret": record("What verifies signatures.", _SECRET, _PUBLIC_KEY),
    "Recovered": record(
        "What a recovery made pending.",
        {
            "retried": COUNT | {"description": "deliveries that had failed or were cancelled"},
            "missed": COUNT | {"description": "events that had no delivery to this endpoint"},
            "complete": {"type": "boolean", "description": "false: there is more; repeat the request"},
        },
        {
            "next_since": TIME
            | {
                "description": "repeat the request with this as `since`: so many events were looked at for the"
                " endpoint's content_filter that the rest is left to the next request"
            },
        },
    ),
    "EndpointChanges": record(
        "The states of an endpoint, newest first: the last hundred.",
        {
            "data": {
                "type": "array",
                "items": record(
                    "A change. A failure is told of when it lasts, and when it has lasted for a minute or more.",
                    {
                        "changed_at": TIME,
                        "state": one_of(*endpoint_history.STATES),
                        "reason": or_null(TEXT)
                        | {"description": "why it was disabled; how the last attempt of a failure ended"},
                    },
                ),
            }
        },
    ),
    "LaneList": list_of("Lane"),
    "Lane": record(
        "A stream of an endpoint that keeps order, in which something waits.",
        {
            "stream": record(
                "Its name.", {"kind": shapes.matching(names.KIND), "id": shapes.matching(names.EXTERNAL_ID)}
            ),
            "head": record(
                "The delivery that is first, and for which the others wait.",
                {
                    "delivery_id": shapes.id_of(ids.DELIVERY),
                    "event_id": shapes.id_of(ids.EVENT),
                    "seq": NUMBER,
                    "since": TIME | {"description": "when it was made"},
                    "sending": {"type": "boolean"},
                    "attempt_count": COUNT,
                    "reason": or_null(TEXT) | {"description": "how the last attempt ended"},
                    "next_attempt_at": or_null(TIME) | {"description": "null: now"},
                    "blocked_seconds": COUNT
                    | {
                        "description": "for how long it has held up the stream while the endpoint answered others; at"
                        " order_patience_seconds the stream goes on without it"
                    },
                },
            ),
            "behind": COUNT
            | {"description": f"deliveries that wait behind it; {MOST_COUNTED} means that many or more"},
        },
    ),
    "Stats": record(
        "How an endpoint has been doing.",
        {
            "hours": COUNT | {"description": "how far back it was counted"},
            "deliveries": record("The number of deliveries by status.", dict.fromkeys(STATUSES, COUNT)),
            "success_rate": {"type": ["number", "null"], "description": "delivered of all that ended, 0 to 1"},
            "attempts": COUNT,
            "duration_ms": record("Durations of attempts.", {"p50": or_null(COUNT), "p95": or_null(COUNT)}),
            "pending": COUNT | {"description": "waiting now"},
            "oldest_pending_at": or_null(TIME),
        },
    ),
}
