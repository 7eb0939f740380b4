"""Examples of what is asked and answered, for the API's description. Tests hold each to its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.problem import CODES
from app.web.http.fields import Field

_WORKSPACE = "ws_01kfxt000009s0m7yq5f3a8c2d"
_EVENT = "evt_01kfxt5c3s4bkqx1dwvm9h2r01"
_ENDPOINT = "ep_01kfxt2q8rbz4m6n0v5s7t9w1x"
_DELIVERY = "dlv_01kfxt5c3v8d2f4g6h0j1k3m5n"
_KEY = "key_01kfxt1a2b3c4d5e6f7g8h9j0k"
_AT, _LATER = "2026-11-20T10:00:01.123Z", "2026-11-20T10:00:01.187Z"
_STREAM = {"kind": "call", "id": "call_42"}
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

_workspace = {"id": _WORKSPACE, "uid": "acme", "name": "Acme Ltd", "created_at": _AT}
_key = {"id": _KEY, "name": "producer", "prefix": "pk_8fK2mQ", "scopes": ["publish"], "created_at": _AT}
_event = {
    "id": _EVENT,
    "type": "call.barge_in",
    "timestamp": _AT,
    "workspace_id": _WORKSPACE,
    "stream": _STREAM,
    "seq": 1,
    "data": {"at_ms": 1200},
}
_event_in = {
    "stream": _STREAM,
    "type": "call.barge_in",
    "data": {"at_ms": 1200},
    "occurred_at": _AT,
    "idempotency_key": "barge-in-1",
}
_event_out = {
    "id": _EVENT,
    "seq": 1,
    "stream": _STREAM,
    "type": "call.barge_in",
    "occurred_at": _AT,
    "created_at": _AT,
    "duplicate": False,
}
_stream = _STREAM | {
    "status": "open",
    "attributes": {"transport": "sip"},
    "last_seq": 1,
    "created_at": _AT,
    "ended_at": None,
}
_token_info = {
    "id": "tok_01kfxt3d4e5f6g7h8j9k0m1n2p",
    "key_id": _KEY,
    "created_at": _AT,
    "expires_at": "2026-11-20T10:05:02.000Z",
}
_FEED_SET = {"streams": ["call:call_42"], "kinds": None}
_endpoint: dict[str, Any] = {
    "id": _ENDPOINT,
    "url": "https://example.com/in",
    "description": "orders",
    "status": "enabled",
    "disabled_reason": None,
    "disabled_at": None,
    "uid": "orders",
    "metadata": {},
    "event_types": ["call.*"],
    "stream_kinds": None,
    "channels": None,
    "content_filter": None,
    "timeout_seconds": None,
    "feed_cursor": False,
    "order": None,
    "order_patience_seconds": None,
    "batch": {"max_events": 100, "max_wait_ms": 1000},
    "retry_delays_seconds": None,
    "header_names": [],
    "rate_limit": None,
    "signing": "hmac",
    "consecutive_failures": 0,
    "failing_since": None,
    "created_at": _AT,
    "updated_at": _AT,
}
_tried = {
    "id": "att_01kfxt5c3x9y8z7w6v5t4s3r2q",
    "number": 1,
    "started_at": _LATER,
    "duration_ms": 64,
    "outcome": "success",
    "error": None,
    "status_code": 204,
    "remote_address": "93.184.215.14",
    "trigger": "schedule",
}
_request = {
    "method": "POST",
    "url": "https://example.com/in",
    "headers": {
        "webhook-id": _EVENT,
        "webhook-timestamp": "1795168801",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    },
    "body": {"event_id": _EVENT, "bytes": 214},
    "exact": True,
}
_attempt = _tried | {
    "request": _request,
    "timing_ms": {"dns": 3, "connect": 12, "tls": 25, "first_byte": 23, "total": 64},
    "connection_reused": False,
    "batch_id": None,
    "batch_size": None,
    "batch_position": None,
    "response_headers": {"content-length": "0"},
    "response_body": "",
    "response_body_truncated": False,
}
_delivery = {
    "id": _DELIVERY,
    "workspace_id": _WORKSPACE,
    "event_id": _EVENT,
    "endpoint_id": _ENDPOINT,
    "event_type": "call.barge_in",
    "status": "delivered",
    "reason": None,
    "attempt_count": 1,
    "created_at": _AT,
    "next_attempt_at": None,
    "deadline_at": "2026-11-21T10:00:01.123Z",
    "finished_at": _LATER,
}


def _list_of(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"data": [item], "next_cursor": None}


_PLACE = "MX43LzAvMTIzNDUvNDAvOTAwOjA6"
_feed_place = {"name": "billing", "cursor": _PLACE, "committed_at": _LATER}
_feed_consumer = _feed_place | {
    "streams": None,
    "kinds": ["call"],
    "types": None,
    "leased_until": None,
    "lag": {"events": 3, "at_least": False, "seconds": 0.4},
    "created_at": _AT,
    "read_at": _LATER,
}
_portal_link = {
    "id": "plk_01kfxt6a7b8c9d0e1f2g3h4j5k",
    "scopes": ["manage", "operate"],
    "created_at": _AT,
    "expires_at": "2026-11-20T10:15:01.123Z",
}
_bulk_retry = {
    "id": "blk_01kfxt7b8c9d0e1f2g3h4j5k6m",
    "status": "running",
    "filters": {"status": "failed"},
    "count": 12400,
    "retried": 4000,
    "created_at": _AT,
    "finished_at": None,
}

_event_type = {
    "type": "call.barge_in",
    "source": "workspace",
    "kind": None,
    "description": "The caller spoke over the agent.",
    "schema": {"type": "object", "required": ["at_ms"]},
    "example": {"at_ms": 1200},
    "check": "warn",
    "deprecated": False,
    "created_at": _AT,
    "updated_at": _AT,
}
_lane = {
    "stream": _STREAM,
    "head": {
        "delivery_id": _DELIVERY,
        "event_id": _EVENT,
        "seq": 7,
        "since": _AT,
        "sending": False,
        "attempt_count": 3,
        "reason": "http_error 500",
        "next_attempt_at": "2026-11-20T10:02:37.000Z",
        "blocked_seconds": 120,
    },
    "behind": 12,
}
_explanation = {
    "endpoint_id": _ENDPOINT,
    "code": "delivered",
    "sentence": "It was delivered at 2026-11-20 10:00:01 UTC with attempt 1.",
    "endpoint": None,
    "delivery": _delivery | {"attempt": _tried},
}

# By the name of the schema.
EXAMPLES: dict[str, Any] = {
    "Workspace": _workspace,
    "WorkspaceList": _list_of(_workspace),
    "Key": _key,
    "CreatedKey": _key | {"key": "pk_8fK2mQ4vX7nB1cZ6sD9gH3jL5pR0tW8yE2uI4oA7qM1"},
    "KeyList": _list_of(_key),
    "Event": _event,
    "EventList": _list_of(_event),
    "EventType": _event_type,
    "EventTypeList": _list_of(_event_type),
    "Explanation": _explanation,
    "ExplanationList": _list_of(_explanation),
    "Lane": _lane,
    "LaneList": _list_of(_lane),
    "EndpointChanges": {"data": [{"changed_at": _AT, "state": "enabled", "reason": None}]},
    "FeedPlace": _feed_place,
    "FeedConsumer": _feed_consumer,
    "FeedConsumerList": _list_of(_feed_consumer),
    "FeedLease": {
        "lease": "5d41402abc4b2a76b9719d911017c592",
        "leased_until": "2026-11-20T10:01:01.123Z",
        "data": [{"cursor": _PLACE, "event": _event}],
        "cursor": _PLACE,
        "more": False,
    },
    "FeedPage": {"data": [{"cursor": _PLACE, "event": _event}], "cursor": _PLACE, "more": False},
    "PortalLink": _portal_link | {"opened_at": None},
    "CreatedPortalLink": _portal_link | {"url": "https://events.example.com/portal/open#pt_5nq8"},
    "PortalLinkList": _list_of(_portal_link | {"opened_at": None}),
    "BulkRetry": _bulk_retry,
    "BulkRetryList": _list_of(_bulk_retry),
    "BulkCount": {"count": 12400, "skipped": 30, "endpoints": 7, "more": False},
    "EventIn": _event_in,
    "EventsIn": _event_in,
    "EventOut": _event_out,
    "EventsOut": {"data": [_event_out]},
    "Published": _event_out,
    "Stream": _stream,
    "StreamList": _list_of(_stream),
    "Token": {
        "id": _token_info["id"],
        "url": "https://events.example.com/v1/streams/call/call_42/live",
        "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJqdGkiOiJ0b2tfMDEifQ.c2lnbmF0dXJl",
        "expires_at": _token_info["expires_at"],
    },
    "TokenList": _list_of(_token_info),
    "FeedToken": _FEED_SET
    | {
        "id": _token_info["id"],
        "url": "https://events.example.com/v1/feed/live",
        "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJqdGkiOiJ0b2tfMDEifQ.c2lnbmF0dXJl",
        "expires_at": _token_info["expires_at"],
    },
    "FeedTokenInfo": _token_info | _FEED_SET,
    "FeedTokenList": _list_of(_token_info | _FEED_SET),
    "VerifiedToken": {
        "active": True,
        "token_type": "stream",
        "scope": "subscribe",
        "jti": _token_info["id"],
        "client_id": _KEY,
        "exp": 1795169102,
        "expires_at": _token_info["expires_at"],
        "workspace_id": _WORKSPACE,
        "stream": _STREAM,
    },
    "Endpoint": _endpoint,
    "EndpointWithSecret": _endpoint | {"secret": _SECRET, "former": []},
    "EndpointList": _list_of(_endpoint),
    "Secret": {"secret": _SECRET, "former": []},
    "Recovered": {"retried": 12, "missed": 3, "complete": True},
    "Stats": {
        "hours": 24,
        "deliveries": {"pending": 1, "delivered": 512, "failed": 2, "cancelled": 0},
        "success_rate": 0.996,
        "attempts": 530,
        "duration_ms": {"p50": 64, "p95": 210},
        "pending": 1,
        "oldest_pending_at": _AT,
    },
    "Delivery": _delivery | {"attempt": _tried},
    "DeliveryList": _list_of(_delivery | {"attempt": _tried}),
    "DeliveryWithAttempts": _delivery | {"attempts": [_attempt]},
    "LoggedAttempt": _delivery | {"attempt": _tried},
    "Health": {"status": "ok"},
    "Ready": {"status": "ready", "database": "up", "migrations": "current", "redis": "up"},
}

# Of fields that name no example of their own, by their kind.
_BY_KIND = {
    "text": "text",
    "time": "2026-11-20T10:00:00Z",
    "integer": 10,
    "texts": ["text"],
    "object": {},
    "text_map": {},
}


def answer(schema: str) -> Any:
    """An example of an answer or a body of this schema, None where there is none."""
    return EXAMPLES.get(schema)


def lines(schema: str) -> str:
    """The same as NDJSON, one line of it."""
    return json.dumps(EXAMPLES[schema], separators=(",", ":")) + "\n"


def body(fields: Sequence[Field]) -> dict[str, Any]:
    """A request's body: its required fields, and the others that have an example."""
    chosen = [item for item in fields if item.required or item.example is not None] or list(fields[-1:])
    return {item.name: _value(item) for item in chosen}


def refusal(codes: Sequence[str]) -> dict[str, Any]:
    """A problem with the first of these codes."""
    status, title = CODES[codes[0]]
    detail = "What is wrong with this request, and what to do."
    known = {"type": "about:blank", "title": title, "status": status, "code": codes[0], "detail": detail}
    return known | {"trace_id": "6f3f0a1e8d8f4d0f9a4f5f0b6d0c7a11"}


def _value(item: Field) -> Any:
    if item.example is not None:
        return item.example
    return item.choices[-1] if item.choices and item.kind == "text" else _BY_KIND[item.kind]
