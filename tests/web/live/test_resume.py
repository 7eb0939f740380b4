"""Where a stream begins for a subscriber, what it shows, and how it ends."""

from __future__ import annotations

import random
import threading
from itertools import pairwise

import psycopg
import pytest

from app.client.parse import StreamEvent
from tests.processes import RunningServer
from tests.web.live.watching import Stage, metric


@pytest.fixture
def stage(server: RunningServer) -> Stage:
    """A stream of its own."""
    return Stage(server)


@pytest.mark.parametrize(
    ("query", "header", "seqs"),
    [
        ("", None, [4, 5]),  # without a cursor: what comes from now on
        ("?after_seq=0", None, [1, 2, 3, 4, 5]),
        ("?after_seq=2", None, [3, 4, 5]),
        ("?after_seq=3", None, [4, 5]),
        ("", "1", [2, 3, 4, 5]),
        ("", "0", [1, 2, 3, 4, 5]),
        ("?after_seq=0", "2", [3, 4, 5]),  # the header wins: an EventSource repeats its first URL
        ("?after_seq=2", "0", [1, 2, 3, 4, 5]),
        ("?after_seq=2", "", [3, 4, 5]),  # an empty header says nothing
        ("?after_seq=", None, [4, 5]),
        ("?after_seq=002", None, [3, 4, 5]),
    ],
)
def test_a_stream_begins_behind_the_cursor(stage: Stage, query: str, header: str | None, seqs: list[int]) -> None:
    stage.post_count(3)
    headers = {} if header is None else {"Last_Event_ID": header}
    with stage.watch(query, **headers) as watch:
        assert watch.status == 200
        stage.post_count(2)
        watch.read_events(len(seqs))
        assert watch.seqs == seqs


@pytest.mark.parametrize(
    ("query", "header"), [("", "900"), ("?after_seq=4", None), ("?after_seq=999999999999999999", None)]
)
def test_a_cursor_that_is_ahead_of_the_stream_is_told_so_and_goes_on_from_the_head(
    stage: Stage, query: str, header: str | None
) -> None:
    stage.post_count(3)
    before = metric(stage.server, "twofold_cursors_ahead_total")
    with stage.watching(query, **({} if header is None else {"Last_Event_ID": header})) as watch:
        stage.post_count(2)
        events = watch.read_events(3)
    assert events[0] == StreamEvent("reset", '{"type":"reset","last_seq":3}', "3")
    assert [event.id for event in events[1:]] == ["4", "5"]
    assert metric(stage.server, "twofold_cursors_ahead_total") == before + 1


def test_a_cursor_of_a_history_that_is_not_known_is_told_so(stage: Stage) -> None:
    stage.post_count(3)
    with stage.watching(Last_Event_ID="2.77") as watch:
        assert watch.read_events(1) == [StreamEvent("reset", '{"type":"reset","last_seq":3}', "3")]


def test_no_event_can_pass_for_a_reset(stage: Stage) -> None:
    event = {"stream": {"kind": stage.kind, "id": stage.id}, "type": "reset", "data": {}}
    assert "reserved" in stage.ask("POST", "/v1/events", status=422, json=event).json()["detail"]


def test_a_stream_that_is_set_back_under_its_viewers_is_told_and_loses_nothing_from_there(stage: Stage) -> None:
    """A restored backup, or a fail-over to a standby that had less: the same stream goes on from an earlier seq."""
    stage.post_count(9)
    with stage.watching("?after_seq=0") as watch:
        watch.read_events(9)
        with psycopg.connect(stage.server.database_url) as connection:
            row = connection.execute("SELECT id FROM streams WHERE external_id = %s", [stage.id]).fetchone()
            connection.execute("DELETE FROM events WHERE stream_id = %s AND seq > 5", row)
            connection.execute("UPDATE streams SET last_seq = 5 WHERE id = %s", row)
        watch.read_to_close()
    with stage.watching(Last_Event_ID="9") as back:
        stage.post_count(2)
        assert [(event.type, event.id) for event in back.read_events(3)] == [
            ("reset", "5"), ("note.added", "6"), ("note.added", "7"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    "cursor", ["abc", "-1", "+1", "1.", ".5", "1.-5", "1.5.1", "1e3", "0x1", "1 2", "9" * 19, "%D9%A3", "null", "1,2"]
)
@pytest.mark.parametrize("place", ["header", "query"])
def test_what_is_no_cursor_is_refused(stage: Stage, place: str, cursor: str) -> None:
    stage.post_count(1)
    if place == "header":
        given = stage.watch(Last_Event_ID=cursor)
    else:
        given = stage.watch(f"?after_seq={cursor.replace('+', '%2B').replace(' ', '%20')}")
    with given as watch:
        assert watch.status == 400
        assert ("Last-Event-ID" if place == "header" else "after_seq") in str(watch.problem()["detail"])


@pytest.mark.parametrize(
    ("query", "header", "seqs"),
    [("", None, [1, 2, 3]), ("?after_seq=1", None, [2, 3]), ("", "2", [3]), ("?after_seq=0", None, [1, 2, 3])],
)
def test_an_ended_stream_is_replayed_and_then_over(
    stage: Stage, query: str, header: str | None, seqs: list[int]
) -> None:
    stage.post_count(3)
    stage.end()
    headers = {} if header is None else {"Last_Event_ID": header}
    with stage.watch(query, **headers) as watch:
        assert watch.status == 200
        watch.read_to_end()
        assert watch.seqs == seqs


@pytest.mark.parametrize("cursor", ["3", "4", "999"])
def test_whoever_has_seen_all_of_an_ended_stream_is_told_not_to_come_back(stage: Stage, cursor: str) -> None:
    stage.post_count(3)
    stage.end()
    with stage.watch(Last_Event_ID=cursor) as watch:
        assert watch.status == 204
        watch.read_for(0.1)
        assert watch.body == b""


@pytest.mark.parametrize(("count", "query"), [(0, ""), (2, "?types=other")])
def test_an_ended_stream_that_shows_nothing_calls_nobody_back(stage: Stage, count: int, query: str) -> None:
    """Without a frame there is no id, so an EventSource would ask in the same words for ever."""
    stage.ask("PUT", stage.path, status=201, json={})
    if count:
        stage.post_count(count)
    stage.end()
    with stage.watch(query) as watch:
        assert watch.status == 204


@pytest.mark.parametrize("by", ["the api", "an event"])
def test_a_stream_that_ends_while_it_is_watched_is_sent_whole(server: RunningServer, by: str) -> None:
    stage = Stage(server, "call")
    stage.post_count(1)
    with stage.watching("?after_seq=0") as one, stage.watching() as two:
        stage.post_count(2)
        if by == "the api":
            stage.end()
        else:
            stage.post("{}", type="call.ended")
        one.read_to_end()
        two.read_to_end()
        last = 3 if by == "the api" else 4
        assert one.seqs == list(range(1, last + 1))
        assert two.seqs == list(range(2, last + 1))


@pytest.mark.parametrize(
    ("types", "seqs"),
    [
        ("a.x", [1, 4]),
        ("a.*", [1, 2, 4]),
        ("a", []),
        ("a.*,b", [1, 2, 3, 4]),
        ("b&types=a.y", [2, 3]),
        ("*", [1, 2, 3, 4]),
        ("%2C", [1, 2, 3, 4]),
        ("", [1, 2, 3, 4]),
        ("c,%20b%20", [3]),
    ],
)
def test_only_the_wanted_types_are_shown(stage: Stage, types: str, seqs: list[int]) -> None:
    for type in ("a.x", "a.y", "b"):
        stage.post("{}", type=type)
    with stage.watch(f"?after_seq=0&types={types}") as watch:
        assert watch.status == 200
        stage.post("{}", type="a.x")
        stage.end()
        watch.read_to_end()
        assert watch.seqs == seqs


@pytest.mark.parametrize("types", ["a*", "*.a", "a.*.*", "%C3%A9", "a%0Ab", "a;b", ".*"])
def test_what_is_no_pattern_of_types_is_refused(stage: Stage, types: str) -> None:
    stage.post_count(1)
    with stage.watch(f"?types={types}") as watch:
        assert watch.status == 422
        assert "types" in str(watch.problem()["detail"])


def test_joining_while_events_arrive_misses_nothing_and_repeats_nothing(stage: Stage) -> None:
    """Sixty connections at random cursors, opened one after the other while a producer posts without a pause."""
    chance = random.Random(1)
    stage.post_count(50)
    over = threading.Event()
    last = 50

    def produce() -> None:
        nonlocal last
        producer = Stage(stage.server)
        producer.id = stage.id
        while not over.is_set():
            last = producer.post_count(chance.randint(1, 5))[-1]

    thread = threading.Thread(target=produce)
    thread.start()
    watches = []
    try:
        for number in range(60):
            cursor = chance.choice([0, chance.randint(1, 50), last])
            watches.append((cursor, stage.watch(f"?after_seq={cursor}") if number % 3 else stage.watch()))
            assert number % 2 or watches[-1][1].status == 200
    finally:
        over.set()
        thread.join()
    stage.end()
    for number, (cursor, watch) in enumerate(watches):
        with watch:
            watch.read_to_end(20)
            seqs = watch.seqs
            assert all(after == before + 1 for before, after in pairwise(seqs))
            if number % 3:
                assert seqs == list(range(cursor + 1, last + 1))
            elif seqs:  # without a cursor it began somewhere, and went on to the end
                assert seqs[-1] == last
