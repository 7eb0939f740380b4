"""What becomes of posted events once their streams are locked: accepted with the next seq, a repeat, or refused.

Pure: the rows that were read, the clock and the random bytes come in; the rows to write and the answers come out. These
are the rules in their readable form. What runs is the database's function accept_events, which is held to them by tests
with the same cases; the answers' texts and the matching of endpoints are taken from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from app.core import ids
from app.core.event.drafts import Draft
from app.core.event.filters import matches, shares_channel
from app.core.event.filters.content import ContentFilter
from app.core.problem import Complaint, Problem
from app.core.wire import envelope

MOST_REMEMBERED = 1000  # kinds and types of one workspace whose endpoints are remembered

DIGEST_BYTES = 16  # of a payload: to tell two apart that one producer has posted, not to withstand a forger

Subject = tuple[str, str, str]  # what names a stream: workspace id, kind, external id


def subject_of(workspace_id: str, draft: Draft) -> Subject:
    """The name of the stream that an event is meant for."""
    return workspace_id, draft.kind, draft.stream_id


def digest_of(draft: Draft) -> bytes:
    """What tells another payload under the same key: type, time, data, metadata and channels as posted, but for white
    space."""
    time = "" if draft.occurred_at is None else draft.occurred_at.isoformat()
    said = [draft.type, time, draft.data]
    if draft.metadata_text or draft.channels:
        said += [draft.metadata_text, *draft.channels]
    return hashlib.sha256("\0".join(said).encode()).digest()[:DIGEST_BYTES]


def key_conflict(first_id: str) -> Problem:
    """The answer for an idempotency key under which another payload was accepted."""
    text = (
        f"This idempotency key belongs to the event {first_id}, which says something else; take another key for"
        " another event."
    )
    return Problem("idempotency_conflict", text, extra={"event_id": first_id})


def too_many_streams(most: int) -> Problem:
    """The answer for a stream that its workspace has no room for."""
    return Problem("too_many", f"The workspace has {most} open streams, the most it may have; end some first.")


def stream_ended(draft: Draft) -> Problem:
    """The answer for an event that comes after its stream's end."""
    return Problem("stream_ended", f"The {draft.kind} {draft.stream_id} has ended and takes no more events.")


def schema_mismatch(refusal: Complaint) -> Problem:
    """The answer for an event that its type's schema refuses."""
    return Problem("schema_mismatch", refusal["detail"], errors=[refusal])


def stream_locked() -> Problem:
    """The answer for a stream whose row somebody holds locked."""
    text = "The stream is locked by something that does not let go; repeat the request with the same idempotency key."
    return Problem("unavailable", text, retry_after_seconds=1)


@dataclass(slots=True)
class StreamState:
    """A locked stream row; it moves on as events are accepted. late_came: whether one that may follow the end has
    come."""

    id: int
    last_seq: int
    ended: bool
    changed: bool = False
    late_came: bool = False


class Accepted(NamedTuple):
    """The answer for one event. duplicate: the idempotency key had been used; the first event's answer."""

    id: str
    seq: int
    kind: str
    stream_id: str
    type: str
    occurred_at: datetime
    created_at: datetime
    duplicate: bool

    def body(self) -> dict[str, Any]:
        """The "event out" object of the API."""
        created_at = envelope.rfc3339(self.created_at)
        same = self.occurred_at is self.created_at  # where the producer has said nothing
        return {
            "id": self.id,
            "seq": self.seq,
            "stream": {"kind": self.kind, "id": self.stream_id},
            "type": self.type,
            "occurred_at": created_at if same else envelope.rfc3339(self.occurred_at),
            "created_at": created_at,
            "duplicate": self.duplicate,
        }


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A row of `events` to insert, and what the bus and the endpoints' filters need of it."""

    workspace_id: str
    stream: int
    kind: str
    event: envelope.Event
    occurred_at: datetime
    key: str | None
    ends: bool
    only_endpoint_id: str | None
    draft: Draft


@dataclass(frozen=True, slots=True)
class EndpointFilter:
    """What an enabled endpoint wants. None: everything; see filters."""

    id: str
    workspace_id: str
    event_types: list[str] | None
    stream_kinds: list[str] | None
    channels: list[str] | None = None
    content: ContentFilter | None = None

    @property
    def looks_closer(self) -> bool:
        """Whether it asks for more than a type and a kind."""
        return self.channels is not None or self.content is not None

    def wants(self, draft: Draft) -> bool:
        """Whether an event of a type and kind that it takes passes the rest of its filters, too."""
        return shares_channel(self.channels, draft.channels) and (
            self.content is None or self.content.holds(draft.value)
        )


@dataclass(slots=True)
class Acceptance:
    """One transaction's worth of decisions, filled event by event in the order of arrival.

    streams: the locked ones; a stream that its workspace has no room for is not among them. busy: those that somebody
    else holds locked, whose events can be neither accepted nor recognized as repeats. keys: the idempotency keys
    that are used, by stream row and key. ends: whether an event (kind, type, data) ends its stream. digests: of what
    was posted under the keys, as far as it is known. late: whether an ended stream still takes an event (kind, type).
    events: what was accepted so far.
    """

    streams: Mapping[Subject, StreamState]
    keys: dict[tuple[int, str], Accepted]
    now: datetime
    random: Callable[[], bytes]
    ends: Callable[[str, str, Any], bool]
    max_open_streams: int
    busy: frozenset[Subject] = frozenset()
    digests: dict[tuple[int, str], bytes] = field(default_factory=dict)
    late: Callable[[str, str], bool] = lambda kind, type: False
    events: list[NewEvent] = field(default_factory=list)

    def accept(
        self, workspace_id: str, draft: Draft, *, refusal: Complaint | None = None, only_endpoint_id: str | None = None
    ) -> Accepted | Problem:
        """Accept one event, or say why not. refusal: what the schema has against it. A refusal changes nothing."""
        subject = subject_of(workspace_id, draft)
        if subject in self.busy:
            return stream_locked()
        stream = self.streams.get(subject)
        key = draft.idempotency_key
        if stream is not None and key is not None and (first := self.keys.get((stream.id, key))):
            known = self.digests.get((stream.id, key))
            return first._replace(duplicate=True) if known in (None, digest_of(draft)) else key_conflict(first.id)
        if stream is not None and stream.ended and not self.late(draft.kind, draft.type):
            return stream_ended(draft)
        if refusal is not None:
            return schema_mismatch(refusal)
        if stream is None:
            return too_many_streams(self.max_open_streams)
        return self._append(workspace_id, draft, stream, only_endpoint_id)

    def _append(self, workspace_id: str, draft: Draft, stream: StreamState, only: str | None) -> Accepted:
        """Give an event the next seq of its stream."""
        stream.last_seq += 1
        stream.changed = True
        ends = not stream.ended and self.ends(draft.kind, draft.type, draft.value)
        stream.ended = stream.ended or ends
        stream.late_came = stream.late_came or self.late(draft.kind, draft.type)
        occurred_at = draft.occurred_at or self.now
        id = ids.make(ids.EVENT, self.now, self.random())
        timestamp = envelope.rfc3339(occurred_at)
        body = envelope.encode(
            id=id,
            type=draft.type,
            timestamp=timestamp,
            workspace_id=workspace_id,
            kind=draft.kind,
            stream_id=draft.stream_id,
            seq=stream.last_seq,
            data=draft.data,
            metadata=draft.metadata_text,
            traceparent=draft.traceparent,
        )
        event = envelope.Event(id, stream.last_seq, draft.type, timestamp, body)
        self.events.append(
            NewEvent(
                workspace_id,
                stream.id,
                draft.kind,
                event,
                occurred_at,
                draft.idempotency_key,
                ends,
                only,
                draft,
            )
        )
        accepted = Accepted(id, stream.last_seq, draft.kind, draft.stream_id, draft.type, occurred_at, self.now, False)
        if draft.idempotency_key is not None:
            self.keys[stream.id, draft.idempotency_key] = accepted
            self.digests[stream.id, draft.idempotency_key] = digest_of(draft)
        return accepted


# So many tests of an event's data, with the longest paths, take as long as making one delivery (31 microseconds, see
# ledger.slices).
TESTS_OF_A_DELIVERY = 16


class Matcher:
    """Which endpoints of one workspace get an event. Remembers what it has found by the stream's kind and the type."""

    def __init__(self, filters: Sequence[EndpointFilter]) -> None:
        self._filters = filters
        self._found: dict[tuple[str, str], tuple[list[str], list[EndpointFilter], int]] = {}

    def weight(self, kind: str, type: str) -> int:
        """What an event of this type on a stream of this kind costs at most, in deliveries."""
        return self._candidates(kind, type)[2]

    def wanting(self, draft: Draft) -> list[str]:
        """The ids of the endpoints whose filters let an event through."""
        every, looking, _ = self._candidates(draft.kind, draft.type)
        return [*every, *(one.id for one in looking if one.wants(draft))] if looking else every

    def _candidates(self, kind: str, type: str) -> tuple[list[str], list[EndpointFilter], int]:
        """The endpoints that get every event of this kind and type, those that look closer first, and the weight."""
        found = self._found.get((kind, type))
        if found is None:
            if len(self._found) >= MOST_REMEMBERED:  # the producer chooses types: a new one for each event, perhaps
                self._found.clear()
            passing = [one for one in self._filters if matches(one.event_types, one.stream_kinds, type=type, kind=kind)]
            looking = [one for one in passing if one.looks_closer]
            tests = sum(one.content.cost for one in looking if one.content is not None)
            every = [one.id for one in passing if not one.looks_closer]
            found = self._found[kind, type] = every, looking, len(passing) + tests // TESTS_OF_A_DELIVERY
        return found


def match(events: Sequence[NewEvent], filters: Sequence[EndpointFilter]) -> list[tuple[NewEvent, str]]:
    """Every (event, endpoint id) pair that gets a delivery row.

    An event that was meant for one endpoint goes to that one, whatever its filter says.
    """
    by_workspace: dict[str, list[EndpointFilter]] = {}
    for one in filters:
        by_workspace.setdefault(one.workspace_id, []).append(one)
    matchers = {workspace_id: Matcher(group) for workspace_id, group in by_workspace.items()}
    nobody = Matcher(())
    pairs: list[tuple[NewEvent, str]] = []
    for new in events:
        if new.only_endpoint_id is not None:
            pairs.append((new, new.only_endpoint_id))
        else:
            wanting = matchers.get(new.workspace_id, nobody).wanting(new.draft)
            pairs += [(new, endpoint_id) for endpoint_id in wanting]
    return pairs
