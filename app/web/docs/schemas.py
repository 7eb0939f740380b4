"""What the API answers, as JSON Schema (2020-12) by name: the components of /openapi.json.

Answers may gain members, but none is renamed or removed, so no schema forbids members that it does not name.
"""

from __future__ import annotations

from typing import Any

from app.accounts.keys import SCOPES
from app.core import ids, times
from app.core.contract.model import ERROR_STATUS
from app.core.event import explain
from app.core.problem import CODES
from app.core.webhook.retry import Outcome
from app.core.wire import trace
from app.delivery.reads import STATUSES
from app.web.http import shapes

Schema = dict[str, Any]


def _object(about: str, required: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "description": about,
        "properties": required | (optional or {}),
        "required": list(required),
    }


def _closed(schema: Schema) -> Schema:
    """What we read, rather than answer: members that it does not name are refused."""
    return schema | {"additionalProperties": False}


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


def _list_of(name: str) -> Schema:
    return _object(
        "One page of a list. next_cursor is null on the last page.",
        {"data": {"type": "array", "items": _ref(name)}, "next_cursor": _or_null(_CURSOR)},
    )


def _searched(rows: Schema) -> Schema:
    return _object(
        "One page of a list. It looks at some thousands of rows at most, so it may have fewer rows than limit, or none,"
        " and a next page. next_cursor is null on the last page.",
        {"data": {"type": "array", "items": rows}, "next_cursor": _or_null(_CURSOR)},
        {"searched_to": _TIME | {"description": "how far this page has looked, where it ended before it was full"}},
    )


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _one_of(*texts: str) -> Schema:
    return {"type": "string", "enum": list(texts)}


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_NUMBER: Schema = {"type": "integer"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME = shapes.TIME
_CURSOR: Schema = {"type": "string", "format": "cursor"}
_ANY_OBJECT: Schema = {"type": "object"}
_NULL: Schema = {"type": "null"}
_STREAM_NAME = _object("A stream's name.", {"kind": shapes.KIND, "id": shapes.STREAM_ID})
_NEW_STREAM_NAME = _object(
    "A stream's name. Left out, the event belongs to one of the workspace's own streams (kind _workspace), by a hash of"
    " its idempotency key.",
    {"kind": shapes.NEW_KIND, "id": shapes.STREAM_ID},
)
_EVENT_ID, _ENDPOINT_ID = shapes.id_of(ids.EVENT), shapes.id_of(ids.ENDPOINT)
_SECRET_TEXT = shapes.matching("whsec_[A-Za-z0-9+/]+=*", description="verifies the v1 signatures")
_PUBLIC_KEY_TEXT = shapes.matching("whpk_[A-Za-z0-9+/]+=*", description="verifies the v1a signatures")
_KEY: Schema = {
    "id": shapes.id_of(ids.KEY),
    "name": _TEXT,
    "prefix": _TEXT | {"description": "the first letters of the key, to recognise it by"},
    "scopes": {"type": "array", "items": _one_of(*SCOPES)},
    "created_at": _TIME,
}
_ENDPOINT: Schema = {
    "id": _ENDPOINT_ID,
    "url": _TEXT,
    "description": _TEXT,
    "status": _one_of("enabled", "disabled"),
    "disabled_reason": _or_null(_TEXT),
    "disabled_at": _or_null(_TIME),
    "event_types": _or_null(_TEXTS),
    "stream_kinds": _or_null(_TEXTS),
    "header_names": _TEXTS,
    "rate_limit": _or_null(_NUMBER),
    "signing": _one_of("hmac", "ed25519"),
    "consecutive_failures": _COUNT,
    "failing_since": _or_null(_TIME),
    "created_at": _TIME,
    "updated_at": _TIME,
}
_SECRET: Schema = {
    "secret": _SECRET_TEXT,
    "former": {
        "type": "array",
        "description": "rotated secrets, which also sign until expires_at",
        "items": _object(
            "A former secret.", {"expires_at": _TIME}, {"secret": _SECRET_TEXT, "public_key": _PUBLIC_KEY_TEXT}
        ),
    },
}
_PUBLIC_KEY: Schema = {"public_key": _PUBLIC_KEY_TEXT}
_TRIED: Schema = {
    "id": shapes.id_of(ids.ATTEMPT),
    "number": _NUMBER,
    "started_at": _TIME,
    "duration_ms": _NUMBER,
    "outcome": _one_of(*(outcome.value for outcome in Outcome)),
    "error": _or_null(_TEXT),
    "status_code": _or_null(_NUMBER),
    "remote_address": _or_null(_TEXT),
    "trigger": _one_of("schedule", "manual", "recover", "test"),
}
_ATTEMPT: Schema = _TRIED | {
    "request": {
        "anyOf": [
            _object(
                "The request as it was sent. What the endpoint's owner has given as headers is masked, and the body is"
                " the envelope of the event.",
                {
                    "method": _one_of("POST"),
                    "url": _TEXT,
                    "headers": {"type": "object", "additionalProperties": _TEXT},
                    "body": _object("GET /v1/events/{id} has it.", {"event_id": _EVENT_ID, "bytes": _or_null(_COUNT)}),
                    "exact": {
                        "type": "boolean",
                        "description": "false: the endpoint has been changed, disabled or given another secret since;"
                        " URL and headers are those of today",
                    },
                },
            ),
            _NULL,
        ],
        "description": "null: none was made, or the endpoint has been deleted",
    },
    "response_headers": {"type": ["object", "null"]},
    "response_body": _or_null(_TEXT),
    "response_body_truncated": {"type": "boolean"},
}
_DELIVERY: Schema = {
    "id": shapes.id_of(ids.DELIVERY),
    "workspace_id": shapes.id_of(ids.WORKSPACE),
    "event_id": _EVENT_ID,
    "endpoint_id": _ENDPOINT_ID,
    "event_type": shapes.TYPE,
    "status": _one_of(*STATUSES),
    "reason": _or_null(_TEXT)
    | {
        "description": "why it is pending or has ended: the last attempt's outcome, or a code such as window_exhausted,"
        " endpoint_gone, worker_crash, and unknown_outcome: the last attempt was sent and not answered, so the receiver"
        " may have it"
    },
    "attempt_count": _COUNT,
    "created_at": _TIME,
    "next_attempt_at": _or_null(_TIME),
    "deadline_at": _TIME,
    "finished_at": _or_null(_TIME),
}

SCHEMAS: dict[str, Schema] = {
    "Problem": _object(
        "RFC 9457 problem details.",
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": _NUMBER,
            "code": _one_of(*CODES, *(case for case in ERROR_STATUS if case not in CODES)),
            "detail": _TEXT | {"description": "what is wrong and what to do"},
            "trace_id": _TEXT | {"description": "also in X-Request-Id and in our log"},
        },
        {
            "errors": {"type": "array", "items": _object("One field.", {"field": _TEXT, "detail": _TEXT})},
            "event_id": _EVENT_ID | {"description": "of an event's idempotency_conflict: the event that has the key"},
        },
    ),
    "Workspace": _object(
        "A customer.",
        {"id": shapes.id_of(ids.WORKSPACE), "uid": shapes.WORKSPACE, "name": _TEXT, "created_at": _TIME},
    ),
    "WorkspaceList": _list_of("Workspace"),
    "Key": _object("A key, without its secret.", _KEY),
    "CreatedKey": _object(
        "A new key.", _KEY | {"key": shapes.matching("[sp]k_[A-Za-z0-9]{43}", description="the secret; shown only now")}
    ),
    "KeyList": _list_of("Key"),
    "Event": _object(
        "The canonical envelope, as webhooks and streams carry it.",
        {
            "id": _EVENT_ID,
            "type": shapes.TYPE,
            "timestamp": _TIME,
            "workspace_id": shapes.id_of(ids.WORKSPACE),
            "stream": _STREAM_NAME,
            "seq": _COUNT,
            "data": _ANY_OBJECT,
        },
        {
            "traceparent": shapes.matching(
                trace.PATTERN, description="the producer's; each webhook has one of its own below it, as a header"
            ),
            "metadata": shapes.METADATA | {"description": "as it was posted; absent when there is none"},
        },
    ),
    "EventList": _searched(_ref("Event")),
    "Explanation": _object(
        "Whether and when an endpoint got an event, and if not, why.",
        {
            "endpoint_id": _ENDPOINT_ID,
            "code": _one_of(*explain.CODES) | {"description": "for programs; more may be added"},
            "sentence": _TEXT | {"description": "the same for people"},
            "endpoint": {
                "anyOf": [
                    _object(
                        "The endpoint as it is now.",
                        {
                            "url": _TEXT,
                            "status": _one_of("enabled", "disabled"),
                            "disabled_reason": _or_null(_TEXT),
                            "disabled_at": _or_null(_TIME),
                            "event_types": _or_null(_TEXTS),
                            "stream_kinds": _or_null(_TEXTS),
                            "rate_limited_until": _or_null(_TIME),
                            "created_at": _TIME,
                            "updated_at": _TIME,
                        },
                    ),
                    _NULL,
                ],
                "description": "null: it has been deleted",
            },
            "delivery": {"anyOf": [_ref("Delivery"), _NULL], "description": "null: there is none"},
        },
    ),
    "ExplanationList": _list_of("Explanation"),
    "EventIn": _closed(
        _object(
            "An event to accept: at most MAX_EVENT_BYTES (256 KiB unless set) of UTF-8, nested at most MAX_JSON_DEPTH"
            " (64) deep, without NUL characters in its strings.",
            {"type": shapes.NEW_TYPE, "data": _ANY_OBJECT},
            {
                "stream": _closed(_NEW_STREAM_NAME),
                "occurred_at": _or_null(_TIME | shapes.matching(times.TIME)),
                "idempotency_key": _or_null(shapes.KEY)
                | {
                    "description": "names this event in its stream, or without one in the workspace: a repeat with the"
                    " same type, occurred_at, data, metadata and channels, spelled alike but for white space, is"
                    " answered 200 with the first event; another payload 409 idempotency_conflict with its event_id"
                },
                "metadata": _or_null(shapes.METADATA)
                | {"description": "notes that travel with the event in its envelope, before the data"},
                "channels": _or_null(shapes.CHANNELS)
                | {"description": "labels that endpoints may ask for; they are kept, and sent to nobody"},
                "traceparent": _or_null(shapes.matching(trace.PATTERN, maxLength=trace.LETTERS))
                | {"description": "its trace (W3C Trace Context); one that is malformed is ignored"},
            },
        )
    ),
    "EventsIn": {
        "description": "One event (EventIn), or an array of events; as application/x-ndjson, one event per line. At"
        " most MAX_BATCH_EVENTS (1000 unless set) and MAX_BATCH_BYTES (4 MiB).",
        "anyOf": [_ref("EventIn"), {"type": "array", "items": _ref("EventIn"), "maxItems": 1000}],
    },
    "EventOut": _object(
        "An event that is stored, with its place in its stream.",
        {
            "id": _EVENT_ID,
            "seq": _COUNT,
            "stream": _STREAM_NAME,
            "type": shapes.TYPE,
            "occurred_at": _TIME,
            "created_at": _TIME,
            "duplicate": {"type": "boolean"},
        },
    ),
    "Published": {
        "description": "EventOut for an event, EventsOut for an array, one result per line for application/x-ndjson.",
        "anyOf": [_ref("EventOut"), _ref("EventsOut")],
    },
    "EventsOut": _object(
        "The answers to an array, in its order.",
        {"data": {"type": "array", "items": {"anyOf": [_ref("EventOut"), _ref("Problem")]}}},
    ),
    "EventType": _object(
        "What events of a type look like.",
        {
            "type": shapes.TYPE,
            "source": _one_of("contract", "workspace", "twofold")
            | {"description": "who declares it; twofold: what is told of endpoints in the workspace's own stream"},
            "kind": _or_null(shapes.KIND) | {"description": "the kind of its streams; null: every kind"},
            "description": _TEXT,
            "schema": _ANY_OBJECT | {"type": ["object", "null"], "description": "JSON Schema of data"},
            "example": _ANY_OBJECT | {"type": ["object", "null"], "description": "data that fits the schema"},
            "check": _one_of("warn", "reject") | {"description": "what becomes of an event that does not fit"},
            "deprecated": {"type": "boolean"},
            "created_at": _or_null(_TIME),
            "updated_at": _or_null(_TIME),
        },
    ),
    "EventTypeList": _list_of("EventType"),
    "Stream": _object(
        "A live subject. One that has ended still takes the types that a contract names as late: last_seq may grow.",
        {
            "kind": shapes.KIND,
            "id": shapes.STREAM_ID,
            "status": _one_of("open", "ended"),
            "attributes": _ANY_OBJECT,
            "last_seq": _COUNT,
            "created_at": _TIME,
            "ended_at": _or_null(_TIME),
        },
    ),
    "StreamList": _list_of("Stream"),
    "Token": _object(
        "A short-lived key to one stream.",
        {
            "id": shapes.id_of(ids.TOKEN),
            "url": _TEXT | {"format": "uri", "description": "the live stream; a browser adds ?token="},
            "token": _TEXT,
            "expires_at": _TIME,
        },
    ),
    "TokenInfo": _object(
        "A token, without its text.",
        {
            "id": shapes.id_of(ids.TOKEN),
            "key_id": shapes.id_of(ids.KEY),
            "created_at": _TIME,
            "expires_at": _TIME,
        },
    ),
    "TokenList": _list_of("TokenInfo"),
    "Endpoint": _object("A registered webhook URL.", _ENDPOINT),
    "EndpointWithSecret": _object("A new endpoint and its secret.", _ENDPOINT | _SECRET, _PUBLIC_KEY),
    "EndpointList": _list_of("Endpoint"),
    "Secret": _object("What verifies signatures.", _SECRET, _PUBLIC_KEY),
    "Recovered": _object(
        "What a recovery made pending.",
        {
            "retried": _COUNT | {"description": "deliveries that had failed or were cancelled"},
            "missed": _COUNT | {"description": "events that had no delivery to this endpoint"},
            "complete": {"type": "boolean", "description": "false: there is more; repeat the request"},
        },
    ),
    "Stats": _object(
        "How an endpoint has been doing.",
        {
            "hours": _COUNT | {"description": "how far back it was counted"},
            "deliveries": _object("The number of deliveries by status.", dict.fromkeys(STATUSES, _COUNT)),
            "success_rate": {"type": ["number", "null"], "description": "delivered of all that ended, 0 to 1"},
            "attempts": _COUNT,
            "duration_ms": _object("Durations of attempts.", {"p50": _or_null(_COUNT), "p95": _or_null(_COUNT)}),
            "pending": _COUNT | {"description": "waiting now"},
            "oldest_pending_at": _or_null(_TIME),
        },
    ),
    "DeliveryList": _searched(_ref("Delivery")),
    "Delivery": _object(
        "One event for one endpoint, with the attempt that was asked for, else the last one.",
        _DELIVERY | {"attempt": {"anyOf": [_object("One HTTP exchange, without the response.", _TRIED), _NULL]}},
    ),
    "Attempt": _object("One HTTP exchange.", _ATTEMPT),
    "DeliveryWithAttempts": _object(
        "A delivery and its attempts.", _DELIVERY | {"attempts": {"type": "array", "items": _ref("Attempt")}}
    ),
    "LoggedAttempt": _object(
        "A delivery as it is now, with one of its attempts: what the live log shows.",
        _DELIVERY | {"attempt": _object("One HTTP exchange, without the response.", _TRIED)},
    ),
    "Health": _object("The process answers.", {"status": _one_of("ok")}),
    "Ready": _object(
        "Whether requests can be served.",
        {
            "status": _one_of("ready", "degraded"),
            "database": _one_of("up"),
            "migrations": _one_of("current"),
            "redis": _one_of("up", "down"),
        },
    ),
    "Any": {},
}
