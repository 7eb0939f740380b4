"""The webhooks that endpoints are sent, as the OpenAPI document's `webhooks`, from the event types of contracts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from app.core.contract.model import EventType
from app.core.webhook import lanes
from app.core.webhook.headers import FEED_CURSOR
from app.web.http.reading import JSON

Schema = dict[str, Any]
_HEADERS = {
    "webhook-id": "the event's id; the same each time it is sent",
    "webhook-timestamp": "when this attempt was made, in seconds since 1970",
    "webhook-signature": "one or more signatures, separated by spaces: `v1,…`, or `v1a,…` with a public key",
}
_MAY_HAVE = {
    lanes.PREV_SEQ: "where the endpoint keeps order: the seq of this stream's event that was for it before this one",
    lanes.SKIPPED_SEQ: "where it keeps order: what has stepped aside or was given up since its last 2xx, `3,7`",
    lanes.LATE: "`1`: this event has stepped aside, and its stream has gone on",
    lanes.REPLAY: "`1`: a person has begun this delivery, or begun it anew",
    FEED_CURSOR: "of an endpoint with `feed_cursor`: where `GET /v1/feed` reads this event and what comes after it;"
    " left out where that is not known any more",
}
_ANY = EventType("call", "call.started", "warn", "An event of a type that no contract declares", {}, {"from": "+4930"})
ANY_NAME = "event"  # what stands for every type that is not declared


def webhooks(types: Iterable[EventType]) -> dict[str, Any]:
    """The webhooks by name, which is the event type's; with its kind where two kinds have one of that name."""
    declared = list(types)
    names = [one.type for one in declared]
    made = {ANY_NAME: {"post": _operation(_ANY, ANY_NAME, {"$ref": "#/components/schemas/Event"})}}
    for one in declared:
        name = one.type if names.count(one.type) == 1 else f"{one.type} ({one.kind})"
        made[name] = {"post": _operation(one, name, body_of(one))}
    return made


def body_of(declared: EventType) -> Schema:
    """The schema of an envelope that carries such an event."""
    kind = {"type": "object", "properties": {"kind": {"const": declared.kind}}}
    members = {"type": {"const": declared.type}, "stream": kind, "data": data_of(declared)}
    return {"allOf": [{"$ref": "#/components/schemas/Event"}, {"type": "object", "properties": members}]}


def data_of(declared: EventType) -> Schema:
    """The schema of its payload; a reference in it leads to a place in itself."""
    schema = dict(declared.schema)
    if '"$ref"' in json.dumps(schema):
        schema["$id"] = f"urn:twofold:{declared.kind}:{declared.type}"
    return schema


def envelope_of(declared: EventType, seq: int = 1) -> dict[str, Any]:
    """An envelope as it might have come."""
    return {
        "id": "evt_01kfxt5c3s4bkqx1dwvm9h2r01",
        "type": declared.type,
        "timestamp": "2026-11-20T10:00:01.123Z",
        "workspace_id": "ws_01kfxt000009s0m7yq5f3a8c2d",
        "stream": {"kind": declared.kind, "id": f"{declared.kind}_1"},
        "seq": seq,
        "data": dict(declared.example),
    }


def _operation(declared: EventType, name: str, schema: Schema) -> dict[str, Any]:
    return {
        "operationId": "webhook_" + "".join(letter if letter.isalnum() else "_" for letter in name).strip("_"),
        "summary": declared.about or f"{declared.type} of a {declared.kind}",
        "parameters": [
            {"name": header, "in": "header", "required": required, "schema": {"type": "string"}, "description": about}
            for headers, required in ((_HEADERS, True), (_MAY_HAVE, False))
            for header, about in headers.items()
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": schema, "example": envelope_of(declared)}}},
        "responses": {
            "2XX": {"description": "Received: it is not sent again"},
            "410": {"description": "The endpoint is gone: it is disabled"},
            "default": {
                "description": "Not received: it is sent again, for 24 hours unless the operator has set another time"
            },
        },
    }
