"""What becomes of posted events under the locks: seqs, repeats, ends, refusals, and who gets a delivery."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.core import ids
from app.core.event.acceptance import (
    Acceptance,
    Accepted,
    EndpointFilter,
    Matcher,
    NewEvent,
    StreamState,
    match,
)
from app.core.event.drafts import Draft
from app.core.event.filters.reading import stored_filter
from app.core.problem import Problem, complaint
from app.core.wire.envelope import Event, data_of

NOW = datetime(2026, 11, 20, 10, 0, 0, 123_000, UTC)
EARLIER = NOW - timedelta(days=1)


def draft(
    stream_id: str = "call_1", *, type: str = "note", data: str = "{}", key: str | None = None, at: Any = None
) -> Draft:
    return Draft("call", stream_id, type, data, json.loads(data), at, key)


def acceptance(*states: tuple[str, StreamState], keys: dict[tuple[int, str], Accepted] | None = None) -> Acceptance:
    """Streams of workspace ws_1 by external id. An event `end` ends its stream."""
    numbers = itertools.count(1)
    return Acceptance(
        streams={("ws_1", "call", name): state for name, state in states},
        keys=keys or {},
        now=NOW,
        random=lambda: next(numbers).to_bytes(10, "big"),
        ends=lambda kind, type, data: type == "end",
        max_open_streams=5,
        late=lambda kind, type: type == "late",
    )


def accept(decisions: Acceptance, one: Draft) -> Accepted | Problem:
    """Accept an event; the schema has something against the type `bad`."""
    return decisions.accept("ws_1", one, refusal=complaint("data.x", "is missing") if one.type == "bad" else None)


def accept_all(decisions: Acceptance, drafts: Iterable[Draft]) -> list[Accepted | Problem]:
    return [accept(decisions, one) for one in drafts]


def test_each_event_takes_the_next_seq_of_its_own_stream() -> None:
    one, two = StreamState(1, 41, False), StreamState(2, 0, False)
    decisions = acceptance(("a", one), ("b", two))
    answers = accept_all(decisions, [draft("a"), draft("b"), draft("a"), draft("b"), draft("a")])
    assert [(answer.stream_id, answer.seq) for answer in answers if isinstance(answer, Accepted)] == [
        ("a", 42), ("b", 1), ("a", 43), ("b", 2), ("a", 44),
    ]  # fmt: skip
    assert (one.last_seq, two.last_seq, one.changed, two.changed) == (44, 2, True, True)
    assert [(new.stream, new.event.seq) for new in decisions.events] == [(1, 42), (2, 1), (1, 43), (2, 2), (1, 44)]


def test_the_answer_and_the_row_say_the_same() -> None:
    decisions = acceptance(("a", StreamState(7, 0, False)))
    answer = accept(decisions, draft("a", type="call.note", data='{"b":1,"a":1.0}', at=EARLIER, key="k"))
    assert isinstance(answer, Accepted)
    assert answer.body() == {
        "id": answer.id,
        "seq": 1,
        "stream": {"kind": "call", "id": "a"},
        "type": "call.note",
        "occurred_at": "2026-11-19T10:00:00.123Z",
        "created_at": "2026-11-20T10:00:00.123Z",
        "duplicate": False,
    }
    (new,) = decisions.events
    assert ids.created_at_of(new.event.id) == NOW
    assert (new.event.id, new.event.seq, new.occurred_at, new.key) == (answer.id, 1, EARLIER, "k")
    assert new.event.timestamp == "2026-11-19T10:00:00.123Z"
    body = json.loads(new.event.body)
    assert list(body) == ["id", "type", "timestamp", "workspace_id", "stream", "seq", "data"]
    assert (body["id"], body["workspace_id"], body["timestamp"]) == (answer.id, "ws_1", new.event.timestamp)
    assert data_of(new.event.body) == b'{"b":1,"a":1.0}'


def test_without_a_time_of_its_own_an_event_happened_when_it_was_accepted() -> None:
    answer = accept(acceptance(("a", StreamState(7, 0, False))), draft("a"))
    assert isinstance(answer, Accepted)
    assert answer.occurred_at == answer.created_at == NOW


def test_a_repeat_is_answered_as_the_first_and_takes_no_seq() -> None:
    first = Accepted("evt_first", 3, "call", "a", "note", EARLIER, EARLIER, False)
    state = StreamState(1, 10, False)
    decisions = acceptance(("a", state), keys={(1, "k"): first})
    answer = accept(decisions, draft("a", key="k", type="bad", data='{"other":true}'))
    assert isinstance(answer, Accepted)
    assert (answer.id, answer.seq, answer.duplicate) == ("evt_first", 3, True)
    assert (decisions.events, state.last_seq, state.changed) == ([], 10, False)


def test_a_repeat_within_one_batch_is_one_too() -> None:
    decisions = acceptance(("a", StreamState(1, 0, False)))
    answers = accept_all(decisions, [draft("a", key="k"), draft("a", key="k"), draft("a", key="l"), draft("a")])
    assert [(one.seq, one.duplicate) for one in answers if isinstance(one, Accepted)] == [
        (1, False), (1, True), (2, False), (3, False),
    ]  # fmt: skip


def test_the_same_key_on_another_stream_is_another_event() -> None:
    decisions = acceptance(("a", StreamState(1, 0, False)), ("b", StreamState(2, 0, False)))
    answers = accept_all(decisions, [draft("a", key="k"), draft("b", key="k")])
    assert [one.duplicate for one in answers if isinstance(one, Accepted)] == [False, False]


def test_an_ended_stream_takes_nothing_and_still_answers_repeats() -> None:
    first = Accepted("evt_first", 9, "call", "a", "note", EARLIER, EARLIER, False)
    state = StreamState(1, 9, True)
    decisions = acceptance(("a", state), keys={(1, "k"): first})
    repeat, fresh = accept_all(decisions, [draft("a", key="k"), draft("a", key="new")])
    assert isinstance(repeat, Accepted)
    assert repeat.duplicate
    assert isinstance(fresh, Problem)
    assert (fresh.status, fresh.code) == (409, "stream_ended")
    assert "call a has ended" in fresh.detail
    assert (decisions.events, state.changed, decisions.keys.keys()) == ([], False, {(1, "k")})


def test_the_last_event_of_a_stream_ends_it_for_those_behind() -> None:
    state = StreamState(1, 0, False)
    decisions = acceptance(("a", state), ("b", StreamState(2, 0, False)))
    answers = accept_all(
        decisions,
        [draft("a"), draft("a", type="end", key="e"), draft("a"), draft("b"), draft("a", type="end", key="e")],
    )
    assert [one.code if isinstance(one, Problem) else one.seq for one in answers] == [1, 2, "stream_ended", 1, 2]
    assert [(new.stream, new.ends) for new in decisions.events] == [(1, False), (1, True), (2, False)]
    assert state.ended


def test_an_ended_stream_takes_its_late_types_and_stays_ended() -> None:
    state = StreamState(1, 3, False)
    decisions = acceptance(("a", state))
    drafts = [
        draft("a", type="end"),
        draft("a"),
        draft("a", type="late"),
        draft("a", type="end"),
        draft("a", type="late"),
    ]
    answers = accept_all(decisions, drafts)
    outcomes = [one.code if isinstance(one, Problem) else one.seq for one in answers]
    assert outcomes == [4, "stream_ended", 5, "stream_ended", 6]
    assert [new.ends for new in decisions.events] == [True, False, False]
    assert (state.ended, state.late_came, state.last_seq) == (True, True, 6)


def test_what_may_follow_the_end_may_also_come_before() -> None:
    state = StreamState(1, 0, False)
    accept_all(acceptance(("a", state)), [draft("a", type="late"), draft("a", type="end")])
    assert (state.ended, state.late_came) == (True, True)


FIRST = draft("a", type="note", data='{"a":1}', key="k", at=EARLIER)


@pytest.mark.parametrize(
    ("repeat", "same"),
    [
        (FIRST, True),
        (FIRST._replace(type="other"), False),
        (FIRST._replace(data='{"a":1.0}'), False),
        (FIRST._replace(occurred_at=None), False),
        (FIRST._replace(occurred_at=NOW), False),
        (FIRST._replace(metadata_text='{"x":1}'), False),
        (FIRST._replace(channels=("x",)), False),
    ],
)
def test_a_key_with_another_payload_is_refused_and_names_the_first(repeat: Draft, same: bool) -> None:
    state = StreamState(1, 0, False)
    decisions = acceptance(("a", state))
    first, again, behind = accept_all(decisions, [FIRST, repeat, draft("a")])
    assert isinstance(first, Accepted)
    if same:
        assert isinstance(again, Accepted)
        assert (again.id, again.duplicate) == (first.id, True)
    else:
        assert isinstance(again, Problem)
        assert (again.status, again.code, again.extra) == (409, "idempotency_conflict", {"event_id": first.id})
        assert first.id in again.detail
    assert isinstance(behind, Accepted)
    assert (behind.seq, state.last_seq) == (2, 2)


def test_one_bad_event_fails_alone() -> None:
    decisions = acceptance(("a", StreamState(1, 0, False)))
    answers = accept_all(
        decisions, [draft("a"), draft("a", type="bad", key="k"), draft("nowhere"), draft("a", key="k")]
    )
    outcomes = [one.code if isinstance(one, Problem) else one.seq for one in answers]
    assert outcomes == [1, "schema_mismatch", "too_many", 2]
    problem = answers[1]
    assert isinstance(problem, Problem)
    assert (problem.status, problem.errors) == (422, [{"field": "data.x", "detail": "is missing"}])


def test_a_stream_that_its_workspace_has_no_room_for_is_refused_with_the_limit() -> None:
    problem = accept(acceptance(), draft("nowhere"))
    assert isinstance(problem, Problem)
    assert problem.detail == "The workspace has 5 open streams, the most it may have; end some first."


def test_a_bad_event_on_a_stream_that_may_not_be_made_is_told_its_own_fault() -> None:
    problem = accept(acceptance(), draft("nowhere", type="bad"))
    assert isinstance(problem, Problem)
    assert problem.code == "schema_mismatch"


def new_event(workspace_id: str = "ws_1", kind: str = "call", type: str = "note", only: str | None = None) -> NewEvent:
    posted = Draft(kind, "one", type, "{}", {}, None, None)
    return NewEvent(workspace_id, 1, kind, Event("evt_1", 1, type, "", b"{}"), NOW, None, False, only, posted)


def wants(
    id: str, types: list[str] | None = None, kinds: list[str] | None = None, workspace: str = "ws_1"
) -> EndpointFilter:
    return EndpointFilter(id, workspace, types, kinds)


@pytest.mark.parametrize(
    ("event", "filters", "wanted"),
    [
        (new_event(), [], []),
        (new_event(), [wants("a"), wants("b")], ["a", "b"]),
        (new_event(), [wants("a", workspace="ws_2"), wants("b")], ["b"]),
        (new_event(type="call.up"), [wants("a", ["call.*"]), wants("b", ["call"]), wants("c", ["*"])], ["a", "c"]),
        (new_event(type="call"), [wants("a", ["call.*"]), wants("b", ["call"])], ["b"]),
        (new_event(type="call.x"), [wants("a", ["x", "call.*", "call.x"])], ["a"]),  # once, however many patterns fit
        (new_event(kind="bot"), [wants("a", None, ["call"]), wants("b", None, ["call", "bot"])], ["b"]),
        (new_event(), [wants("a", []), wants("b", None, [])], []),
        (new_event(type="note"), [wants("a", ["note"], ["bot"])], []),
        (new_event(only="z"), [wants("a"), wants("z", ["other"])], ["z"]),
        (new_event(only="z"), [], ["z"]),
    ],
)  # fmt: skip
def test_matching_endpoints(event: NewEvent, filters: list[EndpointFilter], wanted: list[str]) -> None:
    assert [endpoint for _, endpoint in match([event], filters)] == wanted


def test_many_events_are_matched_each_by_its_own_workspace_kind_and_type() -> None:
    events = [new_event(type="a"), new_event("ws_2", type="a"), new_event(type="b"), new_event(kind="bot", type="a")]
    filters = [wants("1", ["a"]), wants("2", None, ["bot"]), wants("3", workspace="ws_2"), wants("4", ["b"])]
    pairs = [(events.index(new), endpoint) for new, endpoint in match(events, filters)]
    assert pairs == [(0, "1"), (1, "3"), (2, "4"), (3, "1"), (3, "2")]


def test_an_endpoint_that_looks_closer_weighs_as_one_that_gets_the_event_and_its_tests_besides() -> None:
    content = stored_filter(json.dumps({"or": [{"path": "/a", "eq": 1}] * 20}))
    filters = [wants("a"), EndpointFilter("b", "ws_1", None, None, ["c"]), wants("c", ["other"])]
    filters += [EndpointFilter(str(number), "ws_1", None, None, None, content) for number in range(4)]
    matcher = Matcher(filters)
    assert matcher.weight("call", "note") == 6 + 4 * 20 // 16
    posted = Draft("call", "one", "note", '{"a":1}', {"a": 1}, None, None)
    assert matcher.wanting(posted) == ["a", "0", "1", "2", "3"]
    assert matcher.wanting(posted._replace(value={"a": 2}, channels=("c",))) == ["a", "b"]


def test_where_nobody_looks_closer_an_event_costs_a_look_up() -> None:
    matcher = Matcher([wants("a"), wants("b", ["note"])])
    posted = Draft("call", "one", "note", "{}", {}, None, None)
    assert matcher.wanting(posted) is matcher.wanting(posted)
