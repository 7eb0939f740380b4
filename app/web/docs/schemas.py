"""What the API answers, as JSON Schema (2020-12) by name: the components of /openapi.json.

Answers may gain members, but none is renamed or removed, so no schema forbids members that it does not name.
"""

from __future__ import annotations

from typing import Any

from app.accounts.keys import SCOPES
from app.accounts.portal import SCOPES as PORTAL_SCOPES
from app.core import ids, times
from app.core.contract.model import ERROR_STATUS
from app.core.problem import CODES
from app.core.webhook.retry import Outcome
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
_STREAM_NAME = _object("A stream's name.", {"kind": shapes.KIND, "id": shapes.STREAM_ID})
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
_PORTAL_LINK: Schema = {
    "id": shapes.id_of(ids.PORTAL_LINK),
    "scopes": {"type": "array", "items": _one_of(*PORTAL_SCOPES)},
    "created_at": _TIME,
    "expires_at": _TIME,
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
    "response_headers": {"type": ["object", "null"]},
    "response_body": _or_null(_TEXT),
    "response_body_truncated": {"type": "boolean"},
}
_DELIVERY: Schema = {
    "id": shapes.id_of(ids.DELIVERY),
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
        {"errors": {"type": "array", "items": _object("One field.", {"field": _TEXT, "detail": _TEXT})}},
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
    "PortalLink": _object(
        "A link to the customer portal, without its token.", _PORTAL_LINK | {"opened_at": _or_null(_TIME)}
    ),
    "CreatedPortalLink": _object(
        "A new link to the customer portal. It opens once.",
        _PORTAL_LINK | {"url": _TEXT | {"description": "holds the token; shown only now"}},
    ),
    "PortalLinkList": _list_of("PortalLink"),
    "BulkRetry": _object(
        "An order to attempt again what failed or was cancelled. It goes on by itself.",
        {
            "id": shapes.id_of(ids.BULK_RETRY),
            "status": _one_of("running", "finished", "cancelled"),
            "filters": _ANY_OBJECT,
            "count": _COUNT | {"description": "deliveries that the filters let in when it was ordered"},
            "retried": _COUNT
            | {
                "description": "of these, how many are pending again by it; others were attempted meanwhile, or their"
                " endpoint was disabled"
            },
            "created_at": _TIME,
            "finished_at": _or_null(_TIME),
        },
    ),
    "BulkRetryList": _list_of("BulkRetry"),
    "BulkCount": _object(
        "What a bulk retry would find.",
        {
            "count": _COUNT | {"description": "deliveries that would be attempted again"},
            "skipped": _COUNT | {"description": "deliveries whose endpoint is disabled or deleted"},
            "endpoints": _COUNT | {"description": "to how many endpoints"},
            "more": {"type": "boolean", "description": "the count stopped at 1,000,000"},
        },
    ),
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
    ),
    "EventList": _list_of("Event"),
    "EventIn": _closed(
        _object(
            "An event to accept: at most MAX_EVENT_BYTES (256 KiB unless set) of UTF-8, nested at most MAX_JSON_DEPTH"
            " (64) deep, without NUL characters in its strings.",
            {"stream": _closed(_STREAM_NAME), "type": shapes.NEW_TYPE, "data": _ANY_OBJECT},
            {
                "occurred_at": _or_null(_TIME | shapes.matching(times.TIME)),
                "idempotency_key": _or_null(shapes.KEY),
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
    "Stream": _object(
        "A live subject.",
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
    "Delivery": _object("One event for one endpoint.", _DELIVERY),
    "DeliveryList": _list_of("Delivery"),
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
