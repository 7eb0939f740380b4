"""A contract: how a kind of stream shows itself to its subscribers. Data, read from a TOML file.

The engine asks a contract only what stands here; no contract's name appears in the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core import envelope, sse, websocket
from app.core.envelope import Event
from app.core.filters import matches

Pairs = tuple[tuple[str, str], ...]

# What a route's error table may speak of, with the status where the contract says nothing.
ERROR_STATUS = {
    "missing_id": 422,
    "invalid_id": 422,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "ended": 404,
    "too_many": 429,
    "unavailable": 503,
    "bad_request": 400,
    "internal": 500,
}
# Where a credential may stand, and what it is. The two words are `what:where`.
CREDENTIALS = ("key:bearer", "key:x-api-key", "key:query", "token:bearer", "token:query", "session:cookie")


@dataclass(frozen=True, slots=True)
class Frame:
    """How one event becomes the data of one frame.

    event: whether an `event:` line names the type; id: whether an `id:` line carries the seq.
    data: payload (the producer's data), envelope (the canonical one) or flat (members, then the payload's).
    members: (name, "$type" | "$id" | "$seq" | "$timestamp" | "$stream_id" or a literal) put in front.
    """

    event: bool
    id: bool
    data: str
    members: Pairs = ()


@dataclass(frozen=True, slots=True)
class Fixed:
    """A frame that is sent at the opening or the closing: an event name or None, and a template object."""

    event: str | None
    data: str  # JSON text of the template


@dataclass(frozen=True, slots=True)
class Hidden:
    """Events of `type` are not shown when the stream's attribute equals a value (or always: attribute None)."""

    type: str
    attribute: str | None
    equals: str | None


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """How one error case answers: HTTP status, code and sentence of the contract."""

    status: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a contract."""

    name: str
    does: str  # "sse", "websocket" or "mint"
    method: str
    path: str
    kind: str | None  # None: the path holds {kind}
    id_in: str  # "path" or "query"
    id_name: str
    credentials: tuple[str, ...]
    frame: Frame
    types: tuple[str, ...] | None
    hidden: tuple[Hidden, ...]
    opening: Fixed | None
    closing: Fixed | None
    heartbeat: str
    heartbeat_blank_line: bool
    heartbeat_seconds: int
    replay: str  # "none", "cursor" (everything after the cursor) or "window" (within the last seconds)
    replay_seconds: int
    overflow: str  # "catch_up" or "drop"
    overflow_frames: int
    ended: str  # "replay", "last" (the final event of `ended_type`), or "refuse"
    ended_type: str | None
    options: tuple[str, ...]  # query parameters beyond the id: "types", "after_seq", "speed"
    inbound_type: str | None  # WebSocket: the event type that frames sent by the client become
    mints: str | None  # mint: the path that the token opens
    mint_status: int
    mint_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """A stream of the kind ends with an event of `type` (whose `field` has one of `values`)."""

    type: str
    field: str | None
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type of a kind: its JSON Schema and whether a mismatch is refused or only counted."""

    kind: str
    type: str
    check: str  # "warn" or "reject"
    about: str
    schema: Mapping[str, Any] = field(hash=False, compare=False)
    example: Mapping[str, Any] = field(hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Contract:
    """Everything that one file declares."""

    name: str
    about: str
    id_patterns: Mapping[str, str]  # kind -> regular expression
    endings: Mapping[str, tuple[Ending, ...]]  # kind -> rules
    events: tuple[EventType, ...]
    routes: tuple[Route, ...]
    errors: Mapping[str, ErrorForm]
    error_template: str | None  # JSON text; None: problem+json


class Rules:
    """What all loaded contracts together say of a kind: when its streams end and what its types look like."""

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self.contracts = tuple(contracts)
        self._endings: dict[str, list[Ending]] = {}
        self.types: dict[tuple[str, str], EventType] = {}
        for contract in self.contracts:
            for kind, endings in contract.endings.items():
                self._endings.setdefault(kind, []).extend(endings)
            for declared in contract.events:
                # Two contracts may declare one type of a kind: the first, in file order, gives the schema.
                self.types.setdefault((declared.kind, declared.type), declared)

    def ends(self, kind: str, type: str, data: Any) -> bool:
        """Whether this event is the last of its stream, by any contract of the kind."""
        return any(
            ending.type == type and (ending.field is None or envelope.string_value(data, ending.field) in ending.values)
            for ending in self._endings.get(kind, ())
        )


@dataclass(frozen=True, slots=True)
class View:
    """How one subscriber sees a stream: the frames, and which types. Subscribers with equal views share bytes.

    wrap: "chunk" (HTTP/1.1), "raw" (HTTP/1.0) or "ws". shown, wanted: type patterns, None for all.
    """

    frame: Frame
    wrap: str
    shown: tuple[str, ...] | None
    wanted: tuple[str, ...] | None
    hidden: tuple[str, ...]

    def shows(self, type: str) -> bool:
        """Whether events of this type are shown."""
        return (
            matches(self.shown, None, type=type, kind="")
            and matches(self.wanted, None, type=type, kind="")
            and not (self.hidden and matches(self.hidden, None, type=type, kind=""))
        )


def view(route: Route, wrap: str, attributes: Mapping[str, Any], wanted: tuple[str, ...] | None) -> View:
    """The view of a subscriber of `route` on a stream with these attributes."""
    hidden = tuple(
        rule.type for rule in route.hidden if rule.attribute is None or attributes.get(rule.attribute) == rule.equals
    )
    return View(route.frame, wrap, route.types, wanted, hidden)


def data_line(frame: Frame, event: Event, stream_id: str) -> bytes:
    """The JSON that stands behind `data:` (or is the WebSocket text) for one event."""
    if frame.data == "envelope" and not frame.members:
        return event.body
    if frame.data == "payload" and not frame.members:
        return envelope.data_of(event.body)
    values = {
        "$type": event.type,
        "$id": event.id,
        "$seq": str(event.seq),
        "$timestamp": event.timestamp,
        "$stream_id": stream_id,
    }
    head = ",".join(f"{_json(name)}:{_json(values.get(value, value))}" for name, value in frame.members)
    tail = _without(_rest(frame, event), frozenset(name for name, _ in frame.members))
    return f"{{{head}{',' if head and tail else ''}{tail}}}".encode()


def encode(view: View, event: Event, stream_id: str) -> bytes:
    """One event as the bytes that go to every socket of this view."""
    line = data_line(view.frame, event, stream_id)
    if view.wrap == "ws":
        return websocket.text_frame(line)
    frame = view.frame
    return wrap(view.wrap, sse.frame(event.type if frame.event else None, str(event.seq) if frame.id else None, line))


def encode_fixed(view: View, fixed: Fixed, id: str | None, values: Mapping[str, Any]) -> bytes:
    """An opening or closing frame as the bytes for a socket of this view. values: for the template."""
    line = fixed_data(fixed.data, values)
    if view.wrap == "ws":
        return websocket.text_frame(line)
    return wrap(view.wrap, sse.frame(fixed.event, id if view.frame.id else None, line))


def wrap(how: str, data: bytes) -> bytes:
    """Bytes as they go to a socket: see View.wrap."""
    return sse.chunk(data) if how == "chunk" else data


def fixed_data(template: str, values: Mapping[str, Any]) -> bytes:
    """A template object with its `$name` strings replaced by the values, as compact JSON."""
    return json.dumps(fill(json.loads(template), values), ensure_ascii=False, separators=(",", ":")).encode()


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with every string that is `$name` replaced by that value."""
    if isinstance(template, dict):
        return {name: fill(part, values) for name, part in template.items()}
    if isinstance(template, list):
        return [fill(part, values) for part in template]
    if isinstance(template, str) and template.startswith("$"):
        return values.get(template[1:], template)
    return template


def values_named(template: str) -> list[str]:
    """The `$name` strings in a template's JSON text."""

    def walk(part: Any) -> Iterator[str]:
        if isinstance(part, dict | list):
            for inner in part.values() if isinstance(part, dict) else part:
                yield from walk(inner)
        elif isinstance(part, str) and part.startswith("$"):
            yield part

    return list(walk(json.loads(template)))


def path_parameters(path: str) -> list[str]:
    """The names in braces of a route's path."""
    return re.findall(r"{(\w+)}", path)


def _rest(frame: Frame, event: Event) -> str:
    body = event.body if frame.data == "envelope" else envelope.data_of(event.body)
    return body.decode()


def _without(raw: str, names: frozenset[str]) -> str:
    """The inside of a JSON object's text without the members that the frame itself gives."""
    inside = raw[1:-1]
    # The plain search is a cheap no in nearly every case; an escaped spelling of a name ("\u0063all_id") is rare
    # enough to be looked at in full. What is kept stays as it was spelled.
    if "\\u" not in inside and not any(f'"{name}":' in inside for name in names):
        return inside
    return ",".join(member for name, _, member in envelope.members(raw) if name not in names)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
