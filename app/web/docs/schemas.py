"""What the API answers, as JSON Schema (2020-12) by name: the components of /openapi.json.

Answers may gain members, but none is renamed or removed, so no schema forbids members that it does not name.
"""

from __future__ import annotations

from app.accounts.keys import SCOPES
from app.accounts.portal import SCOPES as PORTAL_SCOPES
from app.core import ids, times
from app.core.contract.model import ERROR_STATUS
from app.core.event import explain
from app.core.problem import CODES
from app.core.webhook.retry import Outcome
from app.core.wire import trace
from app.delivery.reads import STATUSES
from app.web.docs.endpoint_schemas import ENDPOINTS
from app.web.docs.feed_schemas import FEED
from app.web.docs.parts import (
    ANY_OBJECT,
    COUNT,
    NULL,
    NUMBER,
    TEXT,
    TEXTS,
    TIME,
    Schema,
    closed,
    list_of,
    one_of,
    or_null,
    record,
    ref,
    searched,
)
from app.web.docs.stream_schemas import STREAM_NAME, STREAMS
from app.web.http import shapes

_NEW_STREAM_NAME = record(
    "A stream's name. Left out, the event belongs to one of the workspace's own streams (kind _workspace), by a hash of"
    " its idempotency key.",
    {"kind": shapes.NEW_KIND, "id": shapes.STREAM_ID},
)
_EVENT_ID, _ENDPOINT_ID = shapes.id_of(ids.EVENT), shapes.id_of(ids.ENDPOINT)
_KEY: Schema = {
    "id": shapes.id_of(ids.KEY),
    "name": TEXT,
    "prefix": TEXT | {"description": "the first letters of the key, to recognise it by"},
    "scopes": {"type": "array", "items": one_of(*SCOPES)},
    "created_at": TIME,
}
_PORTAL_LINK: Schema = {
    "id": shapes.id_of(ids.PORTAL_LINK),
    "scopes": {"type": "array", "items": one_of(*PORTAL_SCOPES)},
    "created_at": TIME,
    "expires_at": TIME,
}
_TRIED: Schema = {
    "id": shapes.id_of(ids.ATTEMPT),
    "number": NUMBER,
    "started_at": TIME,
    "duration_ms": NUMBER,
    "outcome": one_of(*(outcome.value for outcome in Outcome)),
    "error": or_null(TEXT),
    "status_code": or_null(NUMBER),
    "remote_address": or_null(TEXT),
    "trigger": one_of("schedule", "manual", "recover", "test"),
}
_ATTEMPT: Schema = _TRIED | {
    "request": {
        "anyOf": [
            record(
                "The request as it was sent. What the endpoint's owner has given as headers is masked, a feed cursor"
                " is not kept, and the body is the envelope of the event; in a batch an array of those of its events,"
                " and the signature of several is not kept.",
                {
                    "method": one_of("POST"),
                    "url": TEXT,
                    "headers": {"type": "object", "additionalProperties": TEXT},
                    "body": record("GET /v1/events/{id} has it.", {"event_id": _EVENT_ID, "bytes": or_null(COUNT)}),
                    "exact": {
                        "type": "boolean",
                        "description": "false: the endpoint has been changed, disabled or given another secret since,"
                        " or keeps order, or the request had several events; URL and headers are those of today",
                    },
                },
            ),
            NULL,
        ],
        "description": "null: none was made, or the endpoint has been deleted",
    },
    "timing_ms": {
        "anyOf": [
            record(
                "Parts, each from the end of the one before it; null for one that was not needed or not reached. What"
                " is left of the total is the rest of the answer.",
                {
                    "dns": or_null(COUNT) | {"description": "looking the name up; 0 where it was known"},
                    "connect": or_null(COUNT) | {"description": "null over a connection that had been used before"},
                    "tls": or_null(COUNT),
                    "first_byte": or_null(COUNT) | {"description": "sending the request, until the answer began"},
                    "total": COUNT | {"description": "the same as duration_ms"},
                },
            ),
            NULL,
        ],
        "description": "where the time went, in milliseconds; null: not known, or nothing was sent",
    },
    "connection_reused": {
        "type": ["boolean", "null"],
        "description": "whether the connection had been used before; null: there was none, or it is not known",
    },
    "batch_id": or_null(shapes.id_of(ids.BATCH))
    | {"description": "the webhook-id of the request, if it had several events or the endpoint gets batches"},
    "batch_size": or_null(COUNT) | {"description": "how many events it had; null: this one alone, and not in an array"},
    "batch_position": or_null(COUNT) | {"description": "the place of this event in it, from 1"},
    "response_headers": {"type": ["object", "null"]},
    "response_body": or_null(TEXT),
    "response_body_truncated": {"type": "boolean"},
}
_DELIVERY: Schema = {
    "id": shapes.id_of(ids.DELIVERY),
    "workspace_id": shapes.id_of(ids.WORKSPACE),
    "event_id": _EVENT_ID,
    "endpoint_id": _ENDPOINT_ID,
    "event_type": shapes.TYPE,
    "status": one_of(*STATUSES),
    "reason": or_null(TEXT)
    | {
        "description": "why it is pending or has ended: the last attempt's outcome, or a code such as window_exhausted,"
        " endpoint_gone, worker_crash, and unknown_outcome: the last attempt was sent and not answered, so the receiver"
        " may have it"
    },
    "attempt_count": COUNT,
    "created_at": TIME,
    "next_attempt_at": or_null(TIME),
    "deadline_at": TIME,
    "finished_at": or_null(TIME),
}

SCHEMAS: dict[str, Schema] = {
    "Problem": record(
        "RFC 9457 problem details.",
        {
            "type": TEXT,
            "title": TEXT,
            "status": NUMBER,
            "code": one_of(*CODES, *(case for case in ERROR_STATUS if case not in CODES)),
            "detail": TEXT | {"description": "what is wrong and what to do"},
            "trace_id": TEXT | {"description": "also in X-Request-Id and in our log"},
        },
        {
            "errors": {"type": "array", "items": record("One field.", {"field": TEXT, "detail": TEXT})},
            "event_id": _EVENT_ID | {"description": "of an event's idempotency_conflict: the event that has the key"},
        },
    ),
    "Workspace": record(
        "A customer.",
        {"id": shapes.id_of(ids.WORKSPACE), "uid": shapes.WORKSPACE, "name": TEXT, "created_at": TIME},
    ),
    "WorkspaceList": list_of("Workspace"),
    "Key": record("A key, without its secret.", _KEY),
    "CreatedKey": record(
        "A new key.", _KEY | {"key": shapes.matching("[sp]k_[A-Za-z0-9]{43}", description="the secret; shown only now")}
    ),
    "KeyList": list_of("Key"),
    "PortalLink": record(
        "A link to the customer portal, without its token.", _PORTAL_LINK | {"opened_at": or_null(TIME)}
    ),
    "CreatedPortalLink": record(
        "A new link to the customer portal. It opens once.",
        _PORTAL_LINK | {"url": TEXT | {"description": "holds the token; shown only now"}},
    ),
    "PortalLinkList": list_of("PortalLink"),
    "BulkRetry": record(
        "An order to attempt again what failed or was cancelled, or to deliver what was missed. It goes on by itself.",
        {
            "id": shapes.id_of(ids.BULK_RETRY),
            "status": one_of("running", "finished", "cancelled"),
            "filters": ANY_OBJECT,
            "count": COUNT | {"description": "deliveries that the filters let in when it was ordered"},
            "retried": COUNT
            | {
                "description": "of these, how many are pending again by it; others were attempted meanwhile, or their"
                " endpoint was disabled"
            },
            "created_at": TIME,
            "finished_at": or_null(TIME),
        },
    ),
    "BulkRetryList": list_of("BulkRetry"),
    "BulkCount": record(
        "What a bulk retry would find.",
        {
            "count": COUNT | {"description": "deliveries that would be attempted again, or made of what was missed"},
            "skipped": COUNT | {"description": "deliveries whose endpoint is disabled or deleted"},
            "endpoints": COUNT | {"description": "to how many endpoints"},
            "more": {"type": "boolean", "description": "the count stopped at 1,000,000"},
        },
    ),
    "Event": record(
        "The canonical envelope, as webhooks and streams carry it.",
        {
            "id": _EVENT_ID,
            "type": shapes.TYPE,
            "timestamp": TIME,
            "workspace_id": shapes.id_of(ids.WORKSPACE),
            "stream": STREAM_NAME,
            "seq": COUNT,
            "data": ANY_OBJECT,
        },
        {
            "traceparent": shapes.matching(
                trace.PATTERN, description="the producer's; each webhook has one of its own below it, as a header"
            ),
            "metadata": shapes.METADATA | {"description": "as it was posted; absent when there is none"},
        },
    ),
    "EventList": searched(ref("Event")),
    "Explanation": record(
        "Whether and when an endpoint got an event, and if not, why.",
        {
            "endpoint_id": _ENDPOINT_ID,
            "code": one_of(*explain.CODES) | {"description": "for programs; more may be added"},
            "sentence": TEXT | {"description": "the same for people"},
            "endpoint": {
                "anyOf": [
                    record(
                        "The endpoint as it is now.",
                        {
                            "url": TEXT,
                            "status": one_of("enabled", "disabled"),
                            "disabled_reason": or_null(TEXT),
                            "disabled_at": or_null(TIME),
                            "event_types": or_null(TEXTS),
                            "stream_kinds": or_null(TEXTS),
                            "channels": or_null(TEXTS),
                            "rate_limited_until": or_null(TIME),
                            "created_at": TIME,
                            "updated_at": TIME,
                        },
                    ),
                    NULL,
                ],
                "description": "null: it has been deleted",
            },
            "delivery": {"anyOf": [ref("Delivery"), NULL], "description": "null: there is none"},
        },
    ),
    "ExplanationList": list_of("Explanation"),
    "EventIn": closed(
        record(
            "An event to accept: at most MAX_EVENT_BYTES (256 KiB unless set) of UTF-8, nested at most MAX_JSON_DEPTH"
            " (64) deep, without NUL characters in its strings.",
            {"type": shapes.NEW_TYPE, "data": ANY_OBJECT},
            {
                "stream": closed(_NEW_STREAM_NAME),
                "occurred_at": or_null(TIME | shapes.matching(times.TIME)),
                "idempotency_key": or_null(shapes.KEY)
                | {
                    "description": "names this event in its stream, or without one in the workspace: a repeat with the"
                    " same type, occurred_at, data, metadata and channels, spelled alike but for white space, is"
                    " answered 200 with the first event; another payload 409 idempotency_conflict with its event_id"
                },
                "metadata": or_null(shapes.METADATA)
                | {"description": "notes that travel with the event in its envelope, before the data"},
                "channels": or_null(shapes.CHANNELS)
                | {"description": "labels that endpoints may ask for; they are kept, and sent to nobody"},
                "traceparent": or_null(shapes.matching(trace.PATTERN, maxLength=trace.LETTERS))
                | {"description": "its trace (W3C Trace Context); one that is malformed is ignored"},
            },
        )
    ),
    "EventsIn": {
        "description": "One event (EventIn), or an array of events; as application/x-ndjson, one event per line. At"
        " most MAX_BATCH_EVENTS (1000 unless set) and MAX_BATCH_BYTES (4 MiB).",
        "anyOf": [ref("EventIn"), {"type": "array", "items": ref("EventIn"), "maxItems": 1000}],
    },
    "EventOut": record(
        "An event that is stored, with its place in its stream.",
        {
            "id": _EVENT_ID,
            "seq": COUNT,
            "stream": STREAM_NAME,
            "type": shapes.TYPE,
            "occurred_at": TIME,
            "created_at": TIME,
            "duplicate": {"type": "boolean"},
        },
    ),
    "Published": {
        "description": "EventOut for an event, EventsOut for an array, one result per line for application/x-ndjson.",
        "anyOf": [ref("EventOut"), ref("EventsOut")],
    },
    "EventsOut": record(
        "The answers to an array, in its order.",
        {"data": {"type": "array", "items": {"anyOf": [ref("EventOut"), ref("Problem")]}}},
    ),
    "EventType": record(
        "What events of a type look like.",
        {
            "type": shapes.TYPE,
            "source": one_of("contract", "workspace", "twofold")
            | {"description": "who declares it; twofold: what is told of endpoints in the workspace's own stream"},
            "kind": or_null(shapes.KIND) | {"description": "the kind of its streams; null: every kind"},
            "description": TEXT,
            "schema": ANY_OBJECT | {"type": ["object", "null"], "description": "JSON Schema of data"},
            "example": ANY_OBJECT | {"type": ["object", "null"], "description": "data that fits the schema"},
            "check": one_of("warn", "reject") | {"description": "what becomes of an event that does not fit"},
            "deprecated": {"type": "boolean"},
            "created_at": or_null(TIME),
            "updated_at": or_null(TIME),
        },
    ),
    "EventTypeList": list_of("EventType"),
    **STREAMS,
    **ENDPOINTS,
    **FEED,
    "DeliveryList": searched(ref("Delivery")),
    "Delivery": record(
        "One event for one endpoint, with the attempt that was asked for, else the last one.",
        _DELIVERY | {"attempt": {"anyOf": [record("One HTTP exchange, without the response.", _TRIED), NULL]}},
    ),
    "Attempt": record("One HTTP exchange.", _ATTEMPT),
    "DeliveryWithAttempts": record(
        "A delivery and its attempts.", _DELIVERY | {"attempts": {"type": "array", "items": ref("Attempt")}}
    ),
    "LoggedAttempt": record(
        "A delivery as it is now, with one of its attempts: what the live log shows.",
        _DELIVERY | {"attempt": record("One HTTP exchange, without the response.", _TRIED)},
    ),
    "Health": record("The process answers.", {"status": one_of("ok")}),
    "Ready": record(
        "Whether requests can be served.",
        {
            "status": one_of("ready", "degraded"),
            "database": one_of("up"),
            "migrations": one_of("current"),
            "redis": one_of("up", "down"),
        },
    ),
    "Any": {},
}
