"""Contract routes in the OpenAPI document, described from the same data that they are served from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.contract import frames
from app.core.contract.model import ERROR_STATUS, Contract, ContractRoute, EventType, path_parameters
from app.core.event import names
from app.core.problem import CODES
from app.core.wire import envelope
from app.core.wire.envelope import Event
from app.web.http import shapes
from app.web.http.problems import CONTENT_TYPE
from app.web.http.reading import JSON
from app.web.live.credentials import ways
from app.web.live.query import MOST_TYPES, SPEEDS

EVENT_STREAM = "text/event-stream"
EXAMPLES = 3  # frames shown of a route
_ABOUT = {
    "token": "a stream token (or a key, where the route takes one there), for clients that cannot send headers",
    "types": "only events of these types: names and prefixes such as call.*, separated by commas",
    "after_seq": "begin after this seq; Last-Event-ID, where there is one, wins",
    "speed": "replay an ended stream at its own pace, so many times faster, from 0.01 to 1000",
}
_TYPES = rf"(?:\*|{names.TYPE.pattern}(?:\.\*)?)"
_SHAPES: Mapping[str, dict[str, Any]] = {
    "kind": shapes.KIND,
    "token": shapes.matching(r"[A-Za-z0-9_.-]+", maxLength=1000),
    "types": shapes.matching(f"{_TYPES}(?:,{_TYPES}){{0,{MOST_TYPES - 1}}}"),
    "after_seq": shapes.SEQ,
    "speed": {"type": "number", "minimum": SPEEDS[0], "maximum": SPEEDS[1]},
    "Last-Event-ID": shapes.LAST_EVENT_ID,
    "X-Workspace": shapes.WORKSPACE,
}
_SECURITY = {
    "key:bearer": "bearer",
    "token:bearer": "bearer",
    "key:x-api-key": "header",
    "key:query": "query",
    "token:query": "query",
    "session:cookie": "session",
}
# Refusals that contracts may word in their own way, where they do not.
_WORDS = {
    "missing_id": "The id is missing",
    "invalid_id": "The id has another form",
    "ended": "The stream has ended",
}
# What stands for an event of a contract that declares none, because it shows those of every kind.
_ANY = EventType("call", "call.started", "warn", "", {}, {"transport": "sip"})
# Members of a contract's own error form that are filled in.
_FILLED: Mapping[str, dict[str, Any]] = {
    "$code": {"type": "string"},
    "$message": {"type": "string"},
    "$status": {"type": "integer"},
    "$fault": {"enum": ["client_error", "server_error"]},
    "$stream_id": {"type": ["string", "null"]},
    "$trace_id": {"type": "string"},
    "$now": {"type": "string", "format": "date-time"},
}


def operation(declared: Contract, route: ContractRoute) -> dict[str, Any]:
    """The OpenAPI operation of a contract's route, but for its id, summary and tags."""
    return {
        "description": f"Send {ways(route)}. A key needs the scope `subscribe`.",
        "security": [{name: []} for name in dict.fromkeys(_SECURITY[way] for way in route.credentials)],
        "parameters": list(_parameters(declared, route)),
        "responses": _answers(declared, route) | _refusals(declared, route),
        "x-frames": _frames(declared, route),
    }


def _parameters(declared: Contract, route: ContractRoute) -> Iterator[dict[str, Any]]:
    if "kind" in path_parameters(route.path):
        yield _parameter("kind", "path", "the kind of the stream", required=True)
    about = f"your id of the {route.kind or 'stream'}"
    yield _parameter(route.id_name, route.id_in, about, required=True) | {"schema": _id(declared, route)}
    if any(way.endswith(":query") for way in route.credentials):
        yield _parameter("token", "query", _ABOUT["token"])
    for name in route.options:
        yield _parameter(name, "query", _ABOUT[name])
    if route.replay != "none" and route.does != "mint":
        yield _parameter("Last-Event-ID", "header", "the last seq that was seen: the stream goes on behind it")
    if any(way.startswith(("key:", "session:")) for way in route.credentials):
        yield _parameter("X-Workspace", "header", "the workspace that a platform key must name, by id or uid")


def _id(declared: Contract, route: ContractRoute) -> dict[str, Any]:
    """The form of the id of a stream, also by the contract's own pattern."""
    own = declared.id_patterns.get(route.kind or "")
    return shapes.STREAM_ID if own is None else {"allOf": [shapes.STREAM_ID, shapes.matching(own)]}


def _parameter(name: str, where: str, about: str, *, required: bool = False) -> dict[str, Any]:
    shape = _SHAPES.get(name, {"type": "string"})
    return {"name": name, "in": where, "required": required, "schema": shape, "description": about}


def _answers(declared: Contract, route: ContractRoute) -> dict[str, Any]:
    """The responses when all is well."""
    if route.does == "mint":
        members = {name: {"type": "string"} for name in route.mint_fields}
        schema = {"type": "object", "properties": members, "required": list(members)}
        about = "A token that opens one stream for a few minutes, and where"
        return {str(route.mint_status): {"description": about, "content": {JSON: {"schema": schema}}}}
    names = ", ".join(event.type for event in shown_types(declared, route)) or "of every type"
    if route.does == "websocket":
        return {"101": {"description": f"A WebSocket with an event in each text: {names}"}}
    content = {"schema": {"type": "string"}, "example": _frames(declared, route)}
    answers: dict[str, Any] = {
        "200": {"description": f"Server-sent events: {names}", "content": {EVENT_STREAM: content}}
    }
    if route.replay != "none" and route.ended != "refuse":
        answers["204"] = {"description": "The stream has ended, and there is nothing (more) to show; do not come back"}
    return answers


def shown_types(declared: Contract, route: ContractRoute) -> list[EventType]:
    """The declared types that this route shows."""
    view = frames.view(route, "raw", {}, None)
    return [event for event in declared.events if event.kind == route.kind and view.shows(event.type)]


def data_of_example(route: ContractRoute, declared: EventType) -> bytes:
    """The JSON that this route shows for the example of a type."""
    event, stream_id = _event(declared, 1)
    return frames.data_line(route.frame, event, stream_id)


def _frames(declared: Contract, route: ContractRoute) -> str:
    """The beginning of a stream: the contract's examples as they are sent."""
    if route.does == "mint":
        return ""
    view = frames.view(route, "raw", {}, None)
    made: list[bytes] = []
    for seq, example in enumerate((shown_types(declared, route) or [_ANY])[:EXAMPLES], 1):
        event, stream_id = _event(example, seq)
        if route.does == "websocket":
            made.append(frames.data_line(route.frame, event, stream_id) + b"\n")
        else:
            made.append(frames.encode(view, event, stream_id))
    return b"".join(made).decode()


def _event(declared: EventType, seq: int) -> tuple[Event, str]:
    """An event as it might have come, and its stream's id."""
    id, stream_id = f"evt_01kfxt5c3s4bkqx1dwvm9h2r{seq:02}", f"{declared.kind}_1"
    timestamp = f"2026-11-20T10:00:{seq:02}.123Z"
    body = envelope.encode(
        id=id,
        type=declared.type,
        timestamp=timestamp,
        workspace_id="ws_01kfxt000009s0m7yq5f3a8c2d",
        kind=declared.kind,
        stream_id=stream_id,
        seq=seq,
        data=json.dumps(dict(declared.example), ensure_ascii=False, separators=(",", ":")),
    )
    return Event(id, seq, declared.type, timestamp, body), stream_id


def _refusals(declared: Contract, route: ContractRoute) -> dict[str, Any]:
    """The responses when something is wrong, in the contract's own words and form."""
    by_status: dict[int, list[str]] = {}
    for case in _cases(route):
        own = declared.errors.get("bad_request" if case == "invalid" else case)
        if own is not None:
            status, words = own.status, f"{own.code}: {own.detail.removesuffix('.')}"
        else:
            status = ERROR_STATUS.get(case) or CODES[case][0]
            words = f"{case}: {_WORDS.get(case) or CODES[case][1]}"
        if words not in by_status.setdefault(status, []):
            by_status[status].append(words)
    template = declared.error_template
    schema = {"$ref": "#/components/schemas/Problem"} if template is None else _shape(json.loads(template))
    content = {CONTENT_TYPE if template is None else JSON: {"schema": schema}}
    answers = {
        str(status): {"description": "; ".join(by_status[status]), "content": content} for status in sorted(by_status)
    }
    return answers | {"default": {"description": "Anything else that is wrong, in the same form", "content": content}}


def _cases(route: ContractRoute) -> Iterator[str]:
    """What a request to this route may be refused for."""
    yield from ("missing_id", "invalid_id") if route.id_in == "query" else ("invalid_id",)
    yield from ("unauthorized", "forbidden", "not_found")
    if route.does != "mint":
        yield "too_many"
        if route.ended == "refuse":
            yield "ended"
        if route.options:
            yield "invalid"
    if route.replay != "none" or route.does == "websocket" or any(way.startswith("key:") for way in route.credentials):
        yield "bad_request"  # a cursor or a handshake that is none; a platform key that names no workspace
    if "speed" in route.options:
        yield "conflict"
    if route.does == "websocket":
        yield "upgrade_required"
    yield "unavailable"


def _shape(template: Any) -> dict[str, Any]:
    """The JSON Schema of what is made from a template."""
    if isinstance(template, dict):
        members = {name: _shape(part) for name, part in template.items()}
        return {"type": "object", "properties": members, "required": list(members)}
    if isinstance(template, str) and template in _FILLED:
        return _FILLED[template]
    return {"const": template}
