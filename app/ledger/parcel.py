"""A group of requests as the database's function accept_events takes it, and its answer as the requests get it.

Pure: the random bytes come in. Arrays are numbered from 1, as in SQL; 0 stands for none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from app.accounts.callers import Presented, refusal_of
from app.accounts.workspaces import absent, being_changed
from app.core import ids
from app.core.event.acceptance import (
    Accepted,
    Subject,
    digest_of,
    key_conflict,
    schema_mismatch,
    stream_ended,
    stream_locked,
    too_many_streams,
)
from app.core.event.drafts import Draft
from app.core.problem import Problem
from app.core.wire import envelope
from app.core.wire.envelope import Announcement, Event, Pieces
from app.ledger.matching import Wants
from app.ledger.submission import Answers, Submission

_LETTERS = 16  # of the random part of an id: 80 bits at 5 a letter
_LETTER_OF = ids.ALPHABET.encode() * 8  # of a random byte, by five of its bits
# Deliveries of an event that is put to accept_one, which makes them one by one: more cost less together.
MOST_PAIRS_OF_ONE = 4


class Answered(NamedTuple):
    """What accept_events gives back; its own comment says what each is."""

    verdicts: list[str]
    stale: str | None
    moment: datetime | None
    due: int
    outcomes: list[str]
    ids: list[str | None]
    seqs: list[int]
    stream_ids: list[int]
    known_ids: list[str]
    known_seqs: list[int]
    known_types: list[str]
    known_times: list[datetime]
    known_created: list[datetime]
    schemas: str | None


@dataclass(slots=True)
class _Posted:
    """One event of the group. stream, key, caller: numbers."""

    draft: Draft
    stream: int
    key: int
    caller: int
    refused: bool
    ends: bool
    late: bool
    only_endpoint_id: str | None
    pieces: Pieces


class _Numbers(dict[Any, int]):
    """Things in the order in which they were first seen, with their numbers from 1."""

    def __missing__(self, thing: Any) -> int:
        self[thing] = number = len(self) + 1
        return number


class Parcel:
    """Some submissions, taken apart into what the database needs once and what it needs of each event."""

    def __init__(
        self,
        submissions: Sequence[Submission],
        ends: Callable[[str, str, Any], bool],
        late: Callable[[str, str], bool],
    ) -> None:
        self._submissions, self._ends, self._late = submissions, ends, late
        self._workspaces, self._callers, self._streams, self._keys = _Numbers(), _Numbers(), _Numbers(), _Numbers()
        self._events: list[_Posted] = []
        for submission in submissions:
            caller = self._number_of_caller(submission.workspace_id, submission.presented)
            for index, draft in enumerate(submission.drafts):
                self._add(submission, index, draft, caller)

    @property
    def workspace_ids(self) -> list[str]:
        """Each workspace of the group once."""
        return list(self._workspaces)

    def values(self, wants: Sequence[Wants], random: Callable[[int], bytes]) -> list[Any]:
        """The arguments of accept_events behind the first four. wants: of each of workspace_ids."""
        events = self._events
        pairs = list(self._pairs(wants))
        letters = _letters(random, len(events) + len(pairs))
        drafts = [event.draft for event in events]
        return [
            list(self._workspaces),
            [one.version for one in wants],
            [presented.digest for _, presented in self._callers],
            [workspace for workspace, _ in self._callers],
            [presented.reference for _, presented in self._callers],
            [self._workspaces[workspace_id] for workspace_id, _, _ in self._streams],
            [kind for _, kind, _ in self._streams],
            [name for _, _, name in self._streams],
            [stream for stream, _ in self._keys],
            [key for _, key in self._keys],
            [event.caller for event in events],
            [event.stream for event in events],
            [event.key for event in events],
            [draft.type for draft in drafts],
            [draft.occurred_at for draft in drafts],
            [event.ends for event in events],
            [event.late for event in events],
            [event.refused for event in events],
            letters[: len(events)],
            [digest_of(event.draft) if event.key else None for event in events],
            [_array(draft.channels) for draft in drafts],
            [event.pieces.head for event in events],
            [event.pieces.middle for event in events],
            [event.pieces.tail for event in events],
            [number for number, _, _ in pairs],
            [endpoint_id for _, endpoint_id, _ in pairs],
            [is_test for _, _, is_test in pairs],
            letters[len(events) :],
        ]

    def values_of_one(self, wants: Sequence[Wants], random: Callable[[int], bytes]) -> list[Any] | None:
        """The arguments of accept_one behind the first three, if it may be asked: for one event, that is neither
        refused nor a test, and has to do with no stream's end. wants: of its workspace."""
        if len(self._events) != 1:
            return None
        (event,) = self._events
        pairs = list(self._pairs(wants))
        if event.refused or event.ends or event.late or event.only_endpoint_id or len(pairs) > MOST_PAIRS_OF_ONE:
            return None
        ((workspace_id, kind, name),) = self._streams
        presented = next((presented for _, presented in self._callers), None)
        letters, draft = _letters(random, 1 + len(pairs)), event.draft
        return [
            workspace_id,
            wants[0].version,
            None if presented is None else presented.digest,
            None if presented is None else presented.reference,
            kind,
            name,
            draft.idempotency_key,
            draft.type,
            draft.occurred_at,
            letters[0],
            digest_of(draft) if event.key else None,
            _array(draft.channels),
            event.pieces.head,
            event.pieces.middle,
            event.pieces.tail,
            [endpoint_id for _, endpoint_id, _ in pairs],
            letters[1:],
        ]

    def busy(self, answered: Answered) -> frozenset[Subject]:
        """The streams that somebody else held locked."""
        subjects = list(self._streams)
        return frozenset(
            subjects[event.stream - 1]
            for event, outcome in zip(self._events, answered.outcomes, strict=True)
            if outcome == "locked"
        )

    def announcements(self, answered: Answered, epoch: int) -> list[Announcement]:
        """What to tell of the accepted events, in order. epoch: of the history that has them."""
        if answered.moment is None:
            return []
        now, found = envelope.rfc3339(answered.moment), []
        for event, id, seq in zip(self._events, answered.ids, answered.seqs, strict=True):
            if id is not None:
                given = event.draft.occurred_at
                body = event.pieces.joined(id, "" if given else now, seq)
                told = Event(id, seq, event.draft.type, envelope.rfc3339(given) if given else now, body)
                found.append(Announcement(answered.stream_ids[event.stream - 1], seq, told, event.ends, epoch))
        return found

    def answers(self, answered: Answered, most_open: int) -> list[Answers | Exception]:
        """For each submission: an answer for each of its events, or why the whole request is refused."""
        found: list[Answers | Exception] = []
        at = 0
        for submission in self._submissions:
            events = self._events[at : at + len(submission.drafts)]
            verdict = answered.verdicts[events[0].caller - 1] if events and events[0].caller else ""
            if verdict:
                found.append(refusal_of(verdict, "publish"))
            else:
                found.append(
                    [
                        self._answer(answered, number, submission, index, most_open)
                        for index, number in enumerate(range(at, at + len(events)))
                    ]
                )
            at += len(events)
        return found

    def _answer(
        self, answered: Answered, number: int, submission: Submission, index: int, most_open: int
    ) -> Accepted | Problem:
        event, outcome = self._events[number], answered.outcomes[number]
        draft = event.draft
        if outcome == "accepted":
            id, moment = answered.ids[number], answered.moment
            assert id is not None
            assert moment is not None
            occurred_at = draft.occurred_at or moment
            return Accepted(
                id, answered.seqs[number], draft.kind, draft.stream_id, draft.type, occurred_at, moment, False
            )
        if outcome == "repeat":
            place = event.key - 1
            return Accepted(
                answered.known_ids[place],
                answered.known_seqs[place],
                draft.kind,
                draft.stream_id,
                answered.known_types[place],
                answered.known_times[place],
                answered.known_created[place],
                True,
            )
        if outcome == "conflict":
            return key_conflict(answered.known_ids[event.key - 1])
        if outcome == "stream_ended":
            return stream_ended(draft)
        if outcome == "schema_mismatch":
            return schema_mismatch(submission.refusals[index])
        if outcome == "too_many":
            return too_many_streams(most_open)
        return {"locked": stream_locked, "changing": being_changed, "not_found": absent}[outcome]()

    def _number_of_caller(self, workspace_id: str, presented: Presented | None) -> int:
        return 0 if presented is None else self._callers[self._workspaces[workspace_id], presented]

    def _add(self, submission: Submission, index: int, draft: Draft, caller: int) -> None:
        self._workspaces[submission.workspace_id]
        stream = self._streams[submission.workspace_id, draft.kind, draft.stream_id]
        refused = index in submission.refusals
        self._events.append(
            _Posted(
                draft,
                stream,
                0 if draft.idempotency_key is None else self._keys[stream, draft.idempotency_key],
                caller,
                refused,
                not refused and self._ends(draft.kind, draft.type, draft.value),
                self._late(draft.kind, draft.type),
                submission.only_endpoint_id,
                envelope.around(
                    type=draft.type,
                    timestamp="" if draft.occurred_at is None else envelope.rfc3339(draft.occurred_at),
                    workspace_id=submission.workspace_id,
                    kind=draft.kind,
                    stream_id=draft.stream_id,
                    data=draft.data,
                    metadata=draft.metadata_text,
                    traceparent=draft.traceparent,
                ),
            )
        )

    def _pairs(self, wants: Sequence[Wants]) -> Sequence[tuple[int, str, bool]]:
        """Each event that may be accepted, as a number, with each endpoint that gets it then; whether as a test."""
        matchers = {workspace_id: one.matcher for workspace_id, one in zip(self._workspaces, wants, strict=True)}
        of_stream = [matchers[workspace_id] for workspace_id, _, _ in self._streams]
        pairs: list[tuple[int, str, bool]] = []
        for number, event in enumerate(self._events, 1):
            if event.only_endpoint_id is not None:
                pairs.append((number, event.only_endpoint_id, True))
            elif not event.refused:
                wanting = of_stream[event.stream - 1].wanting(event.draft)
                pairs += [(number, endpoint_id, False) for endpoint_id in wanting]
        return pairs


def _letters(random: Callable[[int], bytes], count: int) -> list[str]:
    """The random parts of so many ids."""
    text = random(count * _LETTERS).translate(_LETTER_OF).decode()
    return [text[at : at + _LETTERS] for at in range(0, count * _LETTERS, _LETTERS)]


def _array(texts: Sequence[str]) -> str | None:
    """Names as the text of an SQL array; None for none. (They hold neither quotes nor backslashes.)"""
    return None if not texts else "{" + ",".join(f'"{text}"' for text in texts) + "}"
