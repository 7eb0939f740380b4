"""A contract: how a kind of stream shows itself to its subscribers, as data that is read from a TOML file.

The code knows contracts only by what is defined here; it never asks for a contract by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.wire import envelope

Pairs = tuple[tuple[str, str], ...]

# The cases that a contract may word in its own way, each with the status that it has otherwise.
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
# What opens a route and where it stands in the request, as `what:where`.
CREDENTIALS = ("key:bearer", "key:x-api-key", "key:query", "token:bearer", "token:query", "session:cookie")


@dataclass(frozen=True, slots=True)
class FrameForm:
    """How one event becomes the data of one frame.

    event: whether an `event:` line names the type; id: whether an `id:` line carries the seq; epoch: whether it also
    carries the history, from the second on: `<seq>.<epoch>`.
    data: payload (the producer's data), envelope (the canonical one) or flat (members, then the payload's).
    members: (name, "$type" | "$id" | "$seq" | "$timestamp" | "$stream_id" or a literal) put in front.
    """

    event: bool
    id: bool
    data: str
    members: Pairs = ()
    epoch: bool = False


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
class ContractRoute:
    """One path of a contract."""

    name: str
    does: str  # "sse", "websocket" or "mint"
    method: str
    path: str
    kind: str | None  # None: the path holds {kind}
    id_in: str  # "path" or "query"
    id_name: str
    credentials: tuple[str, ...]
    frame: FrameForm
    types: tuple[str, ...] | None
    hidden: tuple[Hidden, ...]
    opening: Fixed | None
    closing: Fixed | None
    reset: Fixed | None  # for whoever comes with a cursor that is ahead of the stream; None: as if without a cursor
    retry: bool  # whether the stream opens with a `retry:` line
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
class Late:
    """What may follow the end of a stream of the kind. types: those that it still takes. linger_seconds: for how long
    the contract's routes stay open for them, or until one has come."""

    types: tuple[str, ...] = ()
    linger_seconds: int = 0


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
    late: Mapping[str, Late]  # kind -> what may follow the end
    events: tuple[EventType, ...]
    routes: tuple[ContractRoute, ...]
    errors: Mapping[str, ErrorForm]
    error_template: str | None  # JSON text; None: problem+json


class Rules:
    """All loaded contracts together: when the streams of a kind end, what may follow, and what its event types look
    like."""

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self.contracts = tuple(contracts)
        self._endings: dict[str, list[Ending]] = {}
        self._late: dict[str, list[Late]] = {}
        self.types: dict[tuple[str, str], EventType] = {}
        for contract in self.contracts:
            for kind, late in contract.late.items():
                self._late.setdefault(kind, []).append(late)
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

    def late(self, kind: str, type: str) -> bool:
        """Whether a stream of the kind takes events of this type after its end, too, by any contract of the kind."""
        return any(type in late.types for late in self._late.get(kind, ()))

    def linger_seconds(self, contract: Contract, kind: str) -> int:
        """For how long a contract shows a stream after its end: as it says of the kind. One that speaks of no kind of
        its own goes by the others, as long as the longest."""
        if kind in contract.endings:
            return contract.late.get(kind, Late()).linger_seconds
        return max((late.linger_seconds for late in self._late.get(kind, ())), default=0)


def path_parameters(path: str) -> list[str]:
    """The names in braces of a route's path."""
    return re.findall(r"{(\w+)}", path)
