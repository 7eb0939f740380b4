"""What the demo plays: recordings, plays and views, read from `examples/`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"  # of the checkout; the wheel has no demo

# Strict on purpose: with `data` last and no white space between members, its bytes can be taken as they are.
_LINE = re.compile(rb'\{"at":(\d+(?:\.\d+)?),"type":"([A-Za-z0-9_.]+)","data":(\{.*\})\}')


class PlanError(Exception):
    """A recording or the table of plays makes no sense; the text says where."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event of a recording. at: seconds from its beginning; data: payload bytes as they stand in the file."""

    at: float
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class DemoView:
    """One way to watch a play. See examples/demo.toml for the fields."""

    name: str
    reader: str
    path: str
    frame: str
    resumes: bool
    mint: str | None = None
    added: tuple[str, ...] = ()
    types: tuple[str, ...] | None = None
    hidden: tuple[str, ...] = ()
    control: tuple[str, ...] = ()

    def shows(self, type: str) -> bool:
        """Whether events of this type appear in this view."""
        wanted = self.types is None or any(_fits(pattern, type) for pattern in self.types)
        return wanted and not any(_fits(pattern, type) for pattern in self.hidden)


@dataclass(frozen=True, slots=True)
class Play:
    """One recording with its views. See examples/demo.toml for the fields."""

    recording: str
    kind: str
    stream: str
    views: tuple[DemoView, ...]
    ends: bool
    recorded_id: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


def plays(contract: str | None, table: Path = EXAMPLES / "demo.toml") -> list[Play]:
    """The plays of one contract; the first table's when it is None. Raises PlanError for a name that is not there."""
    tables = tomllib.loads(table.read_text(encoding="utf-8"))
    name = contract or next(iter(tables))
    if name not in tables:
        raise PlanError(f"there is no contract {name!r} in {table.name}; it has: {', '.join(tables)}")
    try:
        return [_play(raw) for raw in tables[name]]
    except (TypeError, KeyError) as error:
        raise PlanError(f"{table.name}, table {name}: {error}") from None


def recording(name: str, directory: Path = EXAMPLES) -> list[RecordedEvent]:
    """The events of a recording, in order. Raises PlanError naming the line that is not as examples/README.md says."""
    found: list[RecordedEvent] = []
    for number, line in enumerate((directory / name).read_bytes().split(b"\n"), 1):
        if not line:
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise PlanError(f'{name}, line {number}: not of the form {{"at":seconds,"type":"…","data":{{…}}}}')
        event = RecordedEvent(float(parts[1]), parts[2].decode(), parts[3])
        if found and event.at < found[-1].at:
            raise PlanError(f"{name}, line {number}: goes back in time ({event.at} after {found[-1].at})")
        found.append(event)
    if not found:
        raise PlanError(f"{name} is empty")
    return found


def resized(events: list[RecordedEvent], count: int) -> list[RecordedEvent]:
    """The recording with exactly `count` events: cut short, or its middle played again; first and last stay."""
    first, middle, last = events[0], events[1:-1], events[-1]
    if count < 2 or not middle:
        return events[-1:] if count < 2 else [first, last][:count]
    length = middle[-1].at - first.at
    found = [first]
    for number in range(count - 2):
        lap, place = divmod(number, len(middle))
        event = middle[place]
        found.append(RecordedEvent(event.at + lap * length, event.type, event.data))
    return [*found, RecordedEvent(found[-1].at + last.at - middle[-1].at, last.type, last.data)]


def named(events: list[RecordedEvent], recorded_id: str | None, stream_id: str) -> list[RecordedEvent]:
    """The events with the recorded stream's id in their payloads replaced by this run's."""
    if recorded_id is None:
        return events
    old, new = recorded_id.encode(), stream_id.encode()
    return [RecordedEvent(event.at, event.type, event.data.replace(old, new)) for event in events]


def stream_id(pattern: str, unique: UUID) -> str:
    """The id of one run's stream."""
    return pattern.replace("{uuid}", str(unique)).replace("{hex}", unique.hex)


def _play(raw: dict[str, Any]) -> Play:
    views = tuple(_view(view) for view in raw.pop("views"))
    return Play(views=views, **raw)


def _view(raw: dict[str, Any]) -> DemoView:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
    return DemoView(**fields)


def _fits(pattern: str, type: str) -> bool:
    return type == pattern or (pattern.endswith(".*") and type.startswith(pattern[:-1]))
