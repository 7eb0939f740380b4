"""A contract's frames: which events a subscriber of a route is shown, and the bytes that go to its socket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.contract.model import ContractRoute, Fixed, FrameForm
from app.core.event.filters import matches
from app.core.wire import envelope, json_text, sse, websocket
from app.core.wire.envelope import Event


@dataclass(frozen=True, slots=True)
class View:
    """How one subscriber sees a stream: the frames, and which types. Subscribers with equal views share bytes.

    wrap: "chunk" (HTTP/1.1), "raw" (HTTP/1.0) or "ws". shown, wanted: type patterns, None for all.
    """

    frame: FrameForm
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


def view(route: ContractRoute, wrap: str, attributes: Mapping[str, Any], wanted: tuple[str, ...] | None) -> View:
    """The view of a subscriber of `route` on a stream with these attributes."""
    hidden = tuple(
        rule.type for rule in route.hidden if rule.attribute is None or attributes.get(rule.attribute) == rule.equals
    )
    return View(route.frame, wrap, route.types, wanted, hidden)


def data_line(frame: FrameForm, event: Event, stream_id: str) -> bytes:
    """The JSON of one event that follows `data:`, or that is the WebSocket's text."""
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


def encode(view: View, event: Event, stream_id: str, epoch: int = 0) -> bytes:
    """One event as the bytes that go to every socket of this view. epoch: of the history that it was read from."""
    line = data_line(view.frame, event, stream_id)
    if view.wrap == "ws":
        return websocket.text_frame(line)
    frame = view.frame
    id = place(frame, event.seq, epoch) if frame.id else None
    return wrap(view.wrap, sse.frame(event.type if frame.event else None, id, line))


def place(frame: FrameForm, seq: int, epoch: int) -> str:
    """What an `id:` line carries: where a client stands that has seen everything up to a seq, in this history."""
    return f"{seq}.{epoch}" if frame.epoch and epoch else str(seq)


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


def _rest(frame: FrameForm, event: Event) -> str:
    body = event.body if frame.data == "envelope" else envelope.data_of(event.body)
    return body.decode()


def _without(raw: str, names: frozenset[str]) -> str:
    """The inside of a JSON object's text, without the members of these names."""
    inside = raw[1:-1]
    # Nearly always a plain search finds nothing. Where a name may be spelled with escapes ("\u0063all_id"), the
    # members are read one by one. What is kept stays as the producer spelled it.
    if "\\u" not in inside and not any(f'"{name}":' in inside for name in names):
        return inside
    return ",".join(member for name, _, member in json_text.members(raw) if name not in names)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
