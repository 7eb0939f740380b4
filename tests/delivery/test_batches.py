"""Batches: an endpoint that wants them gets several events in one request, and each event keeps its own delivery."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.client import signatures
from app.core.event.drafts import Draft
from app.core.webhook import batches
from app.core.webhook.lanes import STREAM
from app.database.tables import PARKED
from app.delivery import drain as drain_module
from app.delivery import grants, unrecorded
from app.delivery.drain import Drain
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.test_delivering import headers
from tests.delivery.world import World
from tests.processes import eventually

AT_ONCE = {"max_events": 100, "max_wait_ms": 0}
NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


def accepted(value: Any) -> bytes:
    body = value if isinstance(value, bytes) else json.dumps({"accepted": value}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def by_body(answer: Callable[[list[Any]], bytes]) -> Callable[[ScriptedServer, Any, Seen], bytes]:
    """Answer what this says of the events in the array."""
    return lambda server, connection, seen: answer(json.loads(seen.body))


def sizes(receiver: ScriptedServer) -> list[int]:
    return [len(json.loads(seen.body)) for seen in receiver.seen]


def ids_of(seen: Seen) -> list[str]:
    return [event["id"] for event in json.loads(seen.body)]


def publish(world: World, *streams: str) -> None:
    world.accept([Draft("call", name, "call.turn", "{}", {}, None, None) for name in streams])


def until_delivered(world: World, drain: Drain, seconds: float = 30) -> None:
    """Let drains and time go on until nothing is pending."""

    def over() -> bool:
        drain.run()
        world.make_due_now()
        return not world.one("SELECT count(*) FROM due")

    eventually(over, seconds, poll_seconds=0.001)


def test_what_is_due_goes_in_one_request_with_each_envelope_as_it_was_stored(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, batch=AT_ONCE, signing="ed25519")
        events = world.publish(3, data='{"n":12345678901234567890,"s":"é"}')
        drain = world.drain()
        assert drain.run() == 3
    (seen,) = receiver.seen
    stored = [bytes(row.body) for row in world.sql("SELECT body FROM events ORDER BY seq")]
    assert seen.body == b"[" + b",".join(stored) + b"]"
    sent, secrets = headers(seen), world.secrets(endpoint_id)
    Webhook(secrets["secret"]).verify(seen.body, sent)
    signatures.verify(
        [secrets["public_key"]],
        sent["webhook-id"],
        sent["webhook-timestamp"],
        sent["webhook-signature"],
        seen.body,
        now=int(sent["webhook-timestamp"]),
    )
    assert sent["webhook-id"].startswith("bat_")
    assert sent["content-type"] == "application/json"
    attempts = sorted(world.attempts(), key=lambda row: row.batch_position)
    events_of = {row.id: row.event_id for row in world.deliveries()}
    assert [events_of[row.delivery_id] for row in attempts] == [event.id for event in events]
    assert {(row.batch_id, row.batch_size, row.outcome, row.number) for row in attempts} == {
        (sent["webhook-id"], 3, "success", 1)
    }
    assert world.statuses() == {"delivered": 3}
    assert drain.in_flight == drain.unrecorded == 0


def test_one_event_alone_is_an_array_too_and_others_are_not(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver, ScriptedServer(answering(OK)) as plain:
        world.endpoint(receiver.url, batch=AT_ONCE)
        world.endpoint(plain.url)
        (event,) = world.publish()
        world.drain().run()
    assert ids_of(receiver.seen[0]) == [event.id]
    assert headers(plain.seen[0])["webhook-id"] == json.loads(plain.seen[0].body)["id"] == event.id
    assert Counter(row.batch_size for row in world.attempts()) == {1: 1, None: 1}


def test_none_has_more_events_than_asked_for_nor_more_bytes_than_there_may_be(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 7, "max_wait_ms": 0})
        world.publish(20)
        world.drain().run()
        assert sorted(sizes(receiver)) == [6, 7, 7]
        world.publish(12, data=json.dumps({"text": "x" * 200_000}))
        world.drain().run()
    big = receiver.seen[3:]
    assert sum(len(json.loads(seen.body)) for seen in big) == 12
    assert max(len(seen.body) for seen in big) <= batches.MOST_BYTES
    assert world.statuses() == {"delivered": 32}


def test_events_wait_for_others_until_the_first_has_waited_long_enough(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 100, "max_wait_ms": 60_000})
        drain = world.drain()
        world.publish(2)
        assert drain.run() == 0
        world.let_pass(timedelta(seconds=40))
        world.publish(3)
        assert drain.run() == 0
        assert world.one("SELECT count(*) FROM due WHERE due_at > now()") == 5
        world.let_pass(timedelta(seconds=21))
        assert world.drain().run() == 5
    assert sizes(receiver) == [5]


def test_a_drain_looks_again_when_they_have_waited(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 100, "max_wait_ms": 300})
        began = world.now()
        world.publish(3)
        assert world.drain().run() == 3
    assert sizes(receiver) == [3]
    assert timedelta(milliseconds=300) <= world.attempts()[0].started_at - began


def test_a_full_batch_does_not_wait(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 5, "max_wait_ms": 60_000})
        drain = world.drain()
        world.publish(4)
        assert drain.run() == 0
        world.publish(2)
        assert drain.run() == 5
        assert sizes(receiver) == [5]
        assert world.one("SELECT count(*) FROM due WHERE due_at > now()") == 1
        world.publish(14)
        assert drain.run() == 15
    assert sizes(receiver) == [5, 5, 5, 5]


def test_what_is_begun_by_hand_and_tests_do_not_wait(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 100, "max_wait_ms": 60_000})
        drain = world.drain()
        world.publish()
        world.sql("UPDATE due SET trigger = 'manual'")
        world.sql("UPDATE deliveries SET trigger = 'manual'")
        assert drain.run() == 1


def test_the_first_ones_that_are_accepted_are_delivered_and_the_others_go_again_at_once(world: World) -> None:
    came: list[list[str]] = []

    def answer(server: ScriptedServer, connection: Any, seen: Seen) -> bytes:
        came.append(ids_of(seen))
        return accepted(min(3, len(came[-1])))

    with ScriptedServer(answer) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 10, "max_wait_ms": 0})
        events = [event.id for event in world.publish(10)]
        world.drain().run()
    assert receiver.seen
    assert came[0] == events
    assert sorted(id for batch in came for id in batch[:3]) == sorted(events), "each once, and none is lost"
    assert max(map(len, came[1:])) <= 6, "a receiver that takes three is not sent ten again"
    assert world.statuses() == {"delivered": 10}
    refused = [row for row in world.attempts() if row.outcome != "success"]
    assert {(row.outcome, row.status_code) for row in refused} == {("not_accepted", 200)}
    assert refused[0].error.startswith("the receiver accepted 3 of ")
    assert world.one("SELECT max(window_attempts) FROM deliveries") == 1, "the schedule is not used up by that"


def test_a_receiver_that_takes_few_is_not_sent_many_among_many_endpoints(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MOST_TOLD", 0)
    with ScriptedServer(by_body(lambda events: accepted(min(3, len(events))))) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 10, "max_wait_ms": 0})
        world.publish(10)
        world.drain().run()
    assert sizes(receiver)[0] == 10
    assert max(sizes(receiver)[1:]) <= 6
    assert world.statuses() == {"delivered": 10}


def test_what_an_answer_leaves_over_is_sent_though_its_time_is_over(world: World) -> None:
    with ScriptedServer(by_body(lambda events: accepted(min(3, len(events))))) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 10, "max_wait_ms": 0})
        world.publish(10)
        world.set_deadline("created_at")
        world.drain().run()
    assert sizes(receiver)[0] == 10
    assert world.statuses() == {"delivered": 10}


@pytest.mark.parametrize(
    "value", [0, -1, 6, 2.5, True, None, "2", [], b'{"accepted": 1e999}', b'{"accepted": 99999999999999999999}']
)
def test_an_answer_that_accepts_nothing_has_all_of_them_wait(world: World, value: Any) -> None:
    with ScriptedServer(answering(accepted(value))) as receiver:
        endpoint_id = world.endpoint(receiver.url, batch=AT_ONCE)
        world.publish(5)
        world.drain().run()
    assert sizes(receiver) == [5]
    assert world.statuses() == {"pending": 5}
    assert {row.outcome for row in world.attempts()} == {"not_accepted"}
    assert all("accepted" in row.error for row in world.attempts())
    assert world.one("SELECT count(DISTINCT due_at) FROM due") == 1
    assert all(row.due_at - world.attempts()[0].started_at >= timedelta(seconds=5) for row in world.deliveries())
    row = world.endpoint_row(endpoint_id)
    assert (row.consecutive_failures, row.last_outcome) == (1, "not_accepted"), "one request failed"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 202 OK\r\nContent-Length: 15\r\n\r\n" + b'{"accepted": 2}',
        accepted(b"[1]"),
        accepted(b"thanks"),
        accepted(b'{"accepted'),
        accepted(b""),
        accepted(5),
        accepted(5.0),
        accepted(b" " * 17_000 + b'{"accepted": 2}'),
        accepted(b"[" * 16_000),
    ],
)
def test_other_answers_of_2xx_acknowledge_all(world: World, answer: bytes) -> None:
    with ScriptedServer(answering(answer)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE)
        world.publish(5)
        world.drain().run()
    assert sizes(receiver) == [5]
    assert world.statuses() == {"delivered": 5}


def test_an_answer_that_breaks_off_acknowledges_nothing(world: World) -> None:
    def answer(server: ScriptedServer, connection: Any, seen: Seen) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"acce')

    with ScriptedServer(answer) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE)
        world.publish(5)
        world.drain().run()
    assert sizes(receiver) == [5]
    assert world.statuses() == {"pending": 5}
    assert "not complete" in world.attempts()[0].error


def test_one_event_that_is_always_refused_soon_travels_alone(world: World) -> None:
    with ScriptedServer(by_body(lambda events: NO if any(e["data"]["bad"] for e in events) else OK)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE)
        drafts = [
            Draft("call", "one", "call.turn", json.dumps({"bad": n == 30}), {"bad": n == 30}, None, None)
            for n in range(100)
        ]
        world.accept(drafts)
        drain = world.drain()
        for _ in range(3):
            drain.run()
            world.make_due_now()
        assert world.statuses() == {"delivered": 99, "pending": 1}
        assert Counter(sizes(receiver)) == {100: 1, 10: 10, 1: 10}


def test_an_endpoint_that_was_down_gets_full_batches_when_it_is_back(world: World) -> None:
    is_down = True
    with ScriptedServer(by_body(lambda events: NO if is_down else OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, batch=AT_ONCE)
        world.sql("UPDATE endpoints SET consecutive_failures = 3, last_outcome = 'http_error'")
        world.publish(300)
        drain = world.drain()
        drain.run()
        assert world.endpoint_row(endpoint_id).consecutive_failures == 6
        is_down = False
        world.make_due_now()
        drain.run()
    assert sizes(receiver) == [100] * 6
    assert world.statuses() == {"delivered": 300}


@pytest.mark.parametrize("failures", [7, 8])
def test_an_endpoint_that_fails_for_long_because_of_its_batches_gets_single_events(world: World, failures: int) -> None:
    with ScriptedServer(by_body(lambda events: NO if len(events) > 1 else OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, batch=AT_ONCE)
        world.sql(f"UPDATE endpoints SET consecutive_failures = {failures}, last_outcome = 'http_error'")
        world.publish(19)
        drain = world.drain()
        for _ in range(3):
            drain.run()
            world.make_due_now()
        assert world.endpoint_row(endpoint_id).consecutive_failures == 0
    assert world.statuses() == {"delivered": 19}
    assert max(Counter(sizes(receiver)).items())[0] > 1


def test_an_endpoint_that_is_gone_is_disabled_with_all_that_it_had_in_the_batch(world: World) -> None:
    with ScriptedServer(answering(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")) as receiver:
        endpoint_id = world.endpoint(receiver.url, batch={"max_events": 5, "max_wait_ms": 0})
        world.publish(30)
        world.drain().run()
    assert set(sizes(receiver)) == {5}
    failed = 5 * len(receiver.seen)
    assert failed <= 10, "one more may be claimed by the call that records the first"
    assert world.endpoint_row(endpoint_id).disabled_reason.startswith("endpoint_gone")
    assert world.statuses() == {"failed": failed, "cancelled": 30 - failed}


@pytest.mark.parametrize("answer", [NO, accepted(2)])
def test_a_receiver_that_aborts_a_batch_gives_up_what_it_does_not_accept(world: World, answer: bytes) -> None:
    answer = answer.replace(b"\r\nContent", b"\r\nWebhook-Delivery: abort-message\r\nContent", 1)
    with ScriptedServer(answering(answer)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE)
        world.publish(5)
        world.drain().run()
    assert sizes(receiver) == [5]
    delivered = 2 if b"accepted" in answer else 0
    assert Counter(world.statuses()) == Counter({"delivered": delivered, "failed": 5 - delivered})


def test_the_head_of_an_answer_is_kept_once(world: World) -> None:
    head = b"\r\nX-Long: " + b"x" * 9000 + b"\r\nWebhook-Delivery: Abort-Message\r\nContent"
    answer = NO.replace(b"\r\nContent", head, 1)
    with ScriptedServer(answering(answer)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE)
        world.publish(3)
        world.drain().run()
    first, *others = sorted(world.attempts(), key=lambda row: row.batch_position)
    assert len(first.response_headers["X-Long"]) == 9000
    assert [row.response_headers for row in others] == [{"webhook-delivery": "abort-message"}] * 2
    assert sizes(receiver) == [3]
    assert world.statuses() == {"failed": 3}


def test_a_rate_limit_counts_requests(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, batch={"max_events": 10, "max_wait_ms": 60_000}, rate_limit=1)
        drain = world.drain()
        for _ in range(9):
            world.publish()
            assert drain.run() == 0
        assert world.endpoint_row(endpoint_id).rate_tat is None, "what waits for others takes nothing of it"
        world.publish(11)
        assert drain.run_once().rows
        eventually(lambda: drain.run_once("closed") and not drain.in_flight, 10)
        assert sizes(receiver) == [10]


def test_what_came_of_a_large_batch_is_recorded_without_a_pause(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrecorded, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(drain_module, "LOOK_SECONDS", 5.0)
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE)
        world.publish(5)
        drain, began = world.drain(), time.monotonic()
        assert drain.run() == 5
    assert time.monotonic() - began < 5
    assert world.statuses() == {"delivered": 5}


def test_nothing_is_claimed_while_much_is_to_be_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrecorded, "MOST_AT_ONCE", 1)
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 5, "max_wait_ms": 0})
        world.publish(10)
        drain = world.drain()
        drain.run_once()
        eventually(lambda: drain.collect(0.01) or drain.unrecorded == 5, 10)
        assert [len(drain.run_once().rows) for _ in range(4)] == [0, 0, 0, 5]
        drain.run()
    assert world.statuses() == {"delivered": 10}


def test_a_stream_s_events_go_in_order_one_batch_after_the_other(world: World) -> None:
    busy: Counter[str] = Counter()
    came: dict[str, list[int]] = defaultdict(list)

    def answer(server: ScriptedServer, connection: Any, seen: Seen) -> bytes:
        events = json.loads(seen.body)
        (name,) = {event["stream"]["id"] for event in events}
        busy[name] += 1
        assert busy[name] == 1
        server.over.wait(0.005)
        came[name] += [event["seq"] for event in events]
        busy[name] -= 1
        return OK

    with ScriptedServer(answer) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 4, "max_wait_ms": 0}, order=STREAM)
        for _ in range(11):
            publish(world, "a", "b", "a")
        until_delivered(world, world.drain())
    assert came == {"a": list(range(1, 23)), "b": list(range(1, 12))}
    assert sorted(sizes(receiver)) == [2, 3, 4, 4, 4, 4, 4, 4, 4]
    before = {headers(seen)["webhook-prev-seq"] for seen in receiver.seen if json.loads(seen.body)[0]["seq"] == 5}
    assert before == {"4"}


def test_a_prefix_keeps_the_order_and_what_fails_holds_up_its_stream_only(world: World) -> None:
    dice = random.Random(7)
    came: dict[str, list[int]] = defaultdict(list)

    def answer(events: list[Any]) -> bytes:
        n = dice.randrange(len(events) + 1)
        came[events[0]["stream"]["id"]] += [event["seq"] for event in events[:n]]
        return accepted(n) if n else NO

    with ScriptedServer(by_body(answer)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 8, "max_wait_ms": 0}, order=STREAM)
        publish(world, *dice.choices("abc", k=90))
        until_delivered(world, world.drain())
    assert sum(map(len, came.values())) == 90
    for seqs in came.values():
        assert seqs == list(range(1, len(seqs) + 1))
    assert receiver.seen
    assert world.statuses() == {"delivered": 90}


def test_behind_a_failed_first_one_the_others_are_put_away_and_go_with_it(world: World) -> None:
    say = NO
    with ScriptedServer(by_body(lambda events: say)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 50, "max_wait_ms": 0}, order=STREAM)
        publish(world, *["a"] * 5)
        drain = world.drain()
        drain.run()
        parked = f"SELECT count(*) FROM due WHERE due_at >= '{PARKED}' AND leased_until IS NULL"
        assert world.one(parked) == 4
        assert world.one("SELECT min(attempt_count) FROM due") == 1
        say = OK
        world.sql("UPDATE due SET batch_most = NULL")
        world.make_due_now()
        drain.run()
    assert sizes(receiver) == [5, 5]
    assert world.statuses() == {"delivered": 5}


@pytest.mark.parametrize(("answer", "again"), [(NO, 5), (accepted(2), 3)])
@pytest.mark.parametrize("at_once", [1, 256])
def test_nothing_is_put_away_for_ever_when_the_order_ends_while_a_batch_is_being_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: bytes, again: int, at_once: int
) -> None:
    def end_order(server: ScriptedServer, connection: Any, seen: Seen) -> bytes:
        if len(receiver.seen) > 1:
            return OK
        world.change(endpoint_id, order=None)
        return answer

    monkeypatch.setattr(unrecorded, "MOST_AT_ONCE", at_once)
    with ScriptedServer(end_order) as receiver:
        endpoint_id = world.endpoint(receiver.url, batch={"max_events": 50, "max_wait_ms": 0}, order=STREAM)
        publish(world, *["a"] * 5)
        until_delivered(world, world.drain(), 10)
    assert sum(sizes(receiver)[1:]) == again
    assert world.statuses() == {"delivered": 5}


@pytest.mark.parametrize("at_once", [1, 256])
def test_a_lane_goes_on_at_once_when_its_first_one_ended_while_the_batch_was_being_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    def end_first(server: ScriptedServer, connection: Any, seen: Seen) -> bytes:
        if len(receiver.seen) > 1:
            return OK
        world.end("cancelled", world.one("SELECT delivery_id FROM due ORDER BY seq LIMIT 1"))
        return NO

    monkeypatch.setattr(unrecorded, "MOST_AT_ONCE", at_once)
    with ScriptedServer(end_first) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 50, "max_wait_ms": 0}, order=STREAM)
        publish(world, *["a"] * 5)
        drain = world.drain()
        drain.run_once()
        eventually(lambda: drain.run_once("closed") and not drain.in_flight and not drain.unrecorded, 10)
    assert world.one("SELECT due_at <= now() FROM due ORDER BY seq LIMIT 1")


def test_what_a_batch_left_out_is_told_though_a_success_before_it_is_recorded_later(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 2, "max_wait_ms": 0}, order=STREAM)
        publish(world, *"aaa")
        first, second, _ = (row.delivery_id for row in world.sql("SELECT delivery_id FROM due ORDER BY seq"))
        world.end("failed", second)
        world.end("delivered", first)
        world.drain().run()
    (seen,) = receiver.seen
    assert headers(seen)["webhook-skipped-seq"] == "2"


def test_a_lane_s_batch_is_sent_in_turn_though_the_event_of_its_first_one_is_gone(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE, order=STREAM)
        publish(world, *"aaa")
        world.sql("DELETE FROM events WHERE seq = 1")
        drain = world.drain()
        rows = drain.run_once().rows
        drain.run()
    assert [(row.place, row.is_in_turn) for row in rows] == [(None, True)] * 2
    assert world.statuses() == {"failed": 1, "delivered": 2}


def test_a_lane_waits_for_its_batch_unless_that_is_full(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 5, "max_wait_ms": 60_000}, order=STREAM)
        drain = world.drain()
        for name in "abab":
            publish(world, name)
            assert drain.run() == 0
        for _ in range(3):
            publish(world, "a")
            drain.run()
        assert [ids["seq"] for ids in json.loads(receiver.seen[0].body)] == [1, 2, 3, 4, 5]
        assert sizes(receiver) == [5]
        world.let_pass(timedelta(seconds=61))
        world.drain().run()
    assert sizes(receiver) == [5, 2]


def test_a_claim_whose_answer_was_lost_hands_out_the_whole_batch_again(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/", batch={"max_events": 50, "max_wait_ms": 0}, order=STREAM)
    publish(world, *"aabaa")
    drain = world.drain()
    asked = {"token": TOKEN, "lease_seconds": 60, "most_rows": 600, "most_endpoints": 256, "answering": [],
             "batches": batches.MOST_BYTES, "rooms": dict.fromkeys(("fast", "new", "slow"), 5), "known": {},
             "free": dict.fromkeys(("fast", "new", "slow"), 50)}  # fmt: skip
    first, again = (_round(world, asked | more) for more in ({}, {"again": True}))
    assert drain.in_flight == 0
    assert first == again
    assert len(first) == 5


def test_a_lane_s_claim_that_is_handed_out_again_stays_a_batch_though_batches_were_turned_off(world: World) -> None:
    endpoint_id = world.endpoint("http://127.0.0.1:1/", batch={"max_events": 3, "max_wait_ms": 0}, order=STREAM)
    publish(world, *"aaa")
    asked = {"token": TOKEN, "lease_seconds": 60, "most_rows": 600, "most_endpoints": 256, "answering": [],
             "batches": batches.MOST_BYTES, "rooms": dict.fromkeys(("fast", "new", "slow"), 5), "known": {},
             "free": dict.fromkeys(("fast", "new", "slow"), 50)}  # fmt: skip
    assert len(_round(world, asked)) == 3
    world.change(endpoint_id, batch=None)
    again = world.sql(
        "SELECT note ->> 'batch' AS batch FROM drain_round(NULL, 1, %(asked)s::jsonb) WHERE delivery_id IS NOT NULL",
        asked=json.dumps(asked | {"again": True}),
    )
    assert [row.batch is not None for row in again] == [True] * 3


def test_who_cannot_send_batches_gets_each_event_by_itself(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/", batch=AT_ONCE)
    publish(world, *"aaa")
    asked = {"token": TOKEN, "lease_seconds": 60, "most_rows": 600, "most_endpoints": 256, "answering": [],
             "rooms": dict.fromkeys(("fast", "new", "slow"), 1), "known": {},
             "free": dict.fromkeys(("fast", "new", "slow"), 50)}  # fmt: skip
    assert len(_round(world, asked)) == 1


TOKEN = "6f1c9f3a-5d5b-4a7e-9b58-1a2b3c4d5e6f"


def _round(world: World, asked: dict[str, Any]) -> list[str]:
    rows: Sequence[Any] = world.sql(
        "SELECT delivery_id FROM drain_round(NULL, 1, %(asked)s::jsonb) WHERE delivery_id IS NOT NULL",
        asked=json.dumps(asked),
    )
    return sorted(row.delivery_id for row in rows)


def test_a_claim_takes_no_more_events_than_can_be_recorded_soon(world: World) -> None:
    for _ in range(3):
        world.endpoint("http://127.0.0.1:1/", batch={"max_events": 1000, "max_wait_ms": 0})
    world.publish(1000)
    asked = {"token": TOKEN, "lease_seconds": 60, "most_rows": 600, "most_endpoints": 256, "answering": [],
             "batches": batches.MOST_BYTES, "rooms": dict.fromkeys(("fast", "new", "slow"), 5), "known": {},
             "free": dict.fromkeys(("fast", "new", "slow"), 50)}  # fmt: skip
    taken = _round(world, asked)
    assert 1990 <= len(taken) <= 2000
    its = "SELECT count(*) FROM due WHERE leased_until IS NOT NULL GROUP BY endpoint_id"
    assert min(row.count for row in world.sql(its)) >= 660, "each has its share"


def test_what_has_lost_claims_travels_by_itself_in_an_array_of_one(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE)
        events = world.publish(5)
        world.sql("UPDATE due SET claims = 2 WHERE event_id = %(id)s", id=events[2].id)
        drain = world.drain()
        drain.run()
        drain.run()
    assert sorted(sizes(receiver)) == [1, 4]
    (alone,) = (seen for seen in receiver.seen if len(json.loads(seen.body)) == 1)
    assert ids_of(alone) == [events[2].id]
    assert world.statuses() == {"delivered": 5}


def test_replays_are_not_mixed_with_others_and_carry_a_cursor_before_all_of_them(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, batch=AT_ONCE, feed_cursor=True)
        world.sql("SELECT make_tick(0)")
        world.publish(6)
        for table, name in (("due", "delivery_id"), ("deliveries", "id")):
            world.sql(
                f"UPDATE {table} SET window_started_at = window_started_at + interval '1 ms', trigger = 'recover'"
                f" WHERE {name} IN (SELECT id FROM deliveries ORDER BY id LIMIT 2)"
            )
        world.drain().run()
    told = sorted((len(ids_of(seen)), headers(seen).get("webhook-replay")) for seen in receiver.seen)
    assert told == [(2, "1"), (4, None)]
    assert all("webhook-feed-cursor" in headers(seen) for seen in receiver.seen)
