"""The database's function decides as the pure rules do (app/core/event/acceptance.py), to the byte, whatever comes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.core import ids
from app.core.event.acceptance import Acceptance, Accepted, StreamState, Subject, subject_of
from app.core.event.drafts import Draft
from app.core.event.names import OWN_KIND
from app.core.problem import Problem, complaint
from app.database.connection import Database
from app.ledger.ledger import Submission
from tests.ledger.books import Answer, Books

MOST_OPEN = 6
GROUPS = 60
DATA = [
    "{}", '{"b":1,"a":1.0,"n":12345678901234567890}', '{"s":"\\u2028é😀\\"\\\\"}', '{"\\ud800":1}',
    '{"x":"{\\"id\\":\\"evt_"}', '{"long":"' + "y" * 5000 + '"}',
]  # fmt: skip
TIMES = [
    None, None, datetime(2026, 1, 2, 3, 4, 5, 678_999, UTC), datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(2026, 6, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]  # fmt: skip


ENDS = "SELECT workspace_id, kind, external_id, last_seq, late_came FROM streams"


class Model:
    """What the rules say of the same events. It keeps what a database keeps."""

    def __init__(self) -> None:
        self.streams: dict[Subject, StreamState] = {}
        self.keys: dict[tuple[int, str], Accepted] = {}
        self.digests: dict[tuple[int, str], bytes] = {}

    def accept(self, workspace_id: str, drafts: list[Draft], given: list[Answer]) -> tuple[list[Answer], list[bytes]]:
        """The answers and the envelopes, with the time and the random parts of the ids that were given."""
        fresh = [one for one in given if isinstance(one, Accepted) and not one.duplicate]
        tails = iter([_random_part(one.id) for one in fresh])
        self._make_streams(workspace_id, drafts)
        decisions = Acceptance(
            self.streams,
            keys=self.keys,
            now=fresh[0].created_at if fresh else datetime.now(UTC),
            random=lambda: next(tails, bytes(10)),
            ends=lambda kind, type, data: type == "end" and kind != OWN_KIND,
            max_open_streams=MOST_OPEN,
            digests=self.digests,
            late=lambda kind, type: type == "late",
        )
        answers = [
            decisions.accept(
                workspace_id, one, refusal=complaint("data.x", "is missing") if one.type == "bad" else None
            )
            for one in drafts
        ]
        return answers, [new.event.body for new in decisions.events]

    def _make_streams(self, workspace_id: str, drafts: list[Draft]) -> None:
        """Streams are made for events that are not refused, in the order of their first event, while there is room."""
        first = list(dict.fromkeys(subject_of(workspace_id, one) for one in drafts))
        wanted = {subject_of(workspace_id, one) for one in drafts if one.type != "bad"}
        open_streams = sum(
            not state.ended for (of, kind, _), state in self.streams.items() if of == workspace_id and kind != OWN_KIND
        )
        for subject in first:
            own = subject[1] == OWN_KIND
            if subject in wanted and subject not in self.streams and (own or open_streams < MOST_OPEN):
                self.streams[subject] = StreamState(len(self.streams) + 1, 0, False)
                open_streams += not own


def _random_part(id: str) -> bytes:
    number = 0
    for letter in id[-16:]:
        number = number << 5 | ids.ALPHABET.index(letter)
    return number.to_bytes(10, "big")


def shown(answers: list[Answer]) -> list[object]:
    return [one.body("") if isinstance(one, Problem) else one.body() for one in answers]


def some_drafts(chance: random.Random, former: list[Draft]) -> list[Draft]:
    """New ones, or some that were posted before."""
    if former and chance.random() < 0.2:
        return chance.sample(former, min(3, len(former)))
    data = chance.choice(DATA)
    metadata = chance.choice(["", "", '{"a":"\\u00e9\\"","data":1.0}'])
    return [
        Draft(
            chance.choice(["call", "bot", OWN_KIND]),
            f"s{chance.randrange(5)}",
            chance.choice(["note", "call.note", "late", "bad", "end"]) if chance.random() < 0.5 else "note",
            data,
            json.loads(data),
            chance.choice(TIMES),
            chance.choice([None, f"k{chance.randrange(6)}"]),
            chance.choice([(), ("a", "null", "team:billing")]),
            json.loads(metadata or "{}"),
            metadata,
        )
        for _ in range(chance.choice([1, 1, 2, 5, 20]))
    ]


@pytest.fixture
def limited(database: Database) -> Iterator[Books]:
    made = Books(database, max_open_streams=MOST_OPEN)
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(4))
def test_answers_and_envelopes_are_those_of_the_rules(limited: Books, seed: int) -> None:
    chance = random.Random(seed)
    models = {limited.workspace_id: Model(), limited.workspace(): Model()}
    bodies: list[bytes] = []
    codes: set[object] = set()
    former: list[Draft] = []
    for _ in range(GROUPS):
        workspace_id = chance.choice(list(models))
        drafts = some_drafts(chance, former)
        former += drafts
        given = limited.ledger.accept(Submission(workspace_id, drafts))
        wanted, envelopes = models[workspace_id].accept(workspace_id, drafts, given)
        assert shown(given) == shown(wanted)
        bodies += envelopes
        codes |= {one.code if isinstance(one, Problem) else one.duplicate for one in given}
    assert codes == {True, False, "schema_mismatch", "stream_ended", "too_many", "idempotency_conflict"}
    assert [one.event.body for one in limited.announced if one.event] == bodies
    stored = {row.id: bytes(row.body) for row in limited.sql("SELECT id, body FROM events")}
    assert sorted(stored.values()) == sorted(bodies)
    ends = {(row.workspace_id, row.kind, row.external_id): (row.last_seq, row.late_came) for row in limited.sql(ENDS)}
    kept = {
        subject: (state.last_seq, state.late_came)
        for model in models.values()
        for subject, state in model.streams.items()
    }
    assert ends == kept


def test_a_key_remembers_what_was_posted_under_it(limited: Books) -> None:
    one, same, other = (Draft("call", "s", "note", text, {}, None, key) for text, key in (
        ('{"a":1}', "k1"), ('{"a":1}', "k2"), ('{"a":2}', "k3"),
    ))  # fmt: skip
    limited.accept(one, same, other)
    digests = [bytes(row.digest) for row in limited.sql("SELECT digest FROM event_keys ORDER BY key")]
    assert digests[0] == digests[1] != digests[2]
