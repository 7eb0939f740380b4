"""Who is connected: attaching, joining, limits, heartbeats, expiry, revocation and the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.live.connections import ConnectionCounts, ConnectionLimits, Full
from app.live.hub import Hub
from app.live.live_stream import LiveStream
from app.live.subscriber import Subscriber
from tests.live.scripted import (
    HEARTBEAT,
    VIEW,
    Followed,
    MemoryLog,
    ScriptedSocket,
    World,
    event,
    frame,
    frames,
    subscriber,
    told,
)
from tests.processes import eventually


def test_a_stream_is_followed_from_its_first_subscriber_to_its_last() -> None:
    made = World()
    made.stream(3)
    one, two = subscriber(), subscriber()
    live = made.watch(one)
    assert made.watch(two) is live
    assert made.bus.streams == [1]
    made.hub.detach(live, one)
    assert made.bus.streams == [1]
    made.hub.detach(live, one)  # twice is once
    made.hub.detach(live, two)
    assert made.bus.streams == []
    assert made.hub.subscribers() == []
    assert made.hub.connections == ConnectionCounts()


def test_a_stream_that_does_not_exist_leaves_nothing_behind() -> None:
    made = World()
    with pytest.raises(LookupError):
        made.hub.attach(7, "call_7", subscriber())
    assert (made.bus.streams, made.hub.subscribers(), made.hub.connections) == ([], [], ConnectionCounts())


def test_a_database_that_is_away_leaves_nothing_behind() -> None:
    made = World()
    made.stream(3)
    made.log.away = True
    with pytest.raises(ConnectionError):
        made.hub.attach(1, "call_1", subscriber())
    made.log.away = False
    assert (made.bus.streams, made.hub.subscribers(), made.hub.connections) == ([], [], ConnectionCounts())
    sock = ScriptedSocket()
    made.watch(subscriber(sock))
    made.hub.on_batch([told(4)])
    assert sock.taken == frame(4)


def test_what_the_bus_tells_while_the_head_is_being_read_is_not_lost() -> None:
    made = World()
    made.stream(3)
    follow = made.bus.follow

    def follow_and_hear(stream: int) -> None:
        follow(stream)
        made.hub.on_batch([told(5, ends=True)])  # committed after our look at the head, announced before it came back

    made.bus.follow = follow_and_hear  # type: ignore[method-assign]
    read = made.log.heads

    def read_and_commit(ids: list[int]) -> object:
        found = read(ids)
        made.commit(4, 5)
        return found

    made.log.heads = read_and_commit  # type: ignore[method-assign,assignment]
    sock = ScriptedSocket()
    one = subscriber(sock)
    live = made.hub.attach(1, "call_1", one)
    assert live.last_seq == 5
    assert live.ended
    one.cursor = 3
    assert not live.join(one)
    assert [found.seq for found in made.hub.page(live, 3)] == [4, 5]


def test_a_subscriber_that_knows_of_later_events_has_them_read() -> None:
    """The request saw the stream at 5; the bus has not told this process yet."""
    made = World()
    made.stream(3)
    first = ScriptedSocket()
    made.watch(subscriber(first))
    made.commit(4, 5)
    live = made.hub.attach(1, "call_1", subscriber(), seq=5)
    assert live.last_seq == 5
    assert first.taken == frames(4, 5)


def test_only_who_has_read_up_to_the_head_joins() -> None:
    made = World()
    made.stream(3)
    sock = ScriptedSocket()
    one = subscriber(sock)
    live = made.watch(one, cursor=2)
    assert not one.joined
    made.hub.on_batch([told(4)])
    assert sock.taken == b""
    one.cursor = 4
    assert live.join(one)
    made.hub.on_batch([told(5)])
    assert sock.taken == frame(5)


def test_each_view_gets_its_own_bytes_and_equal_views_share_them() -> None:
    made = World()
    made.stream(1)
    views = {
        "all": VIEW,
        "notes": replace(VIEW, wanted=("note",)),
        "other": replace(VIEW, wanted=("other.*",)),
        "chunks": replace(VIEW, wrap="chunk"),
    }
    sockets = {name: [ScriptedSocket(), ScriptedSocket()] for name in views}
    for name, view in views.items():
        for sock in sockets[name]:
            live = made.watch(subscriber(sock, view))
    assert len(live.joined) == 4
    live.extend([event(2), event(3, type="other.x")])
    for name, wire in (
        ("all", frames(2, 3)),
        ("notes", frame(2)),
        ("other", frame(3)),
        ("chunks", b"".join(b"%x\r\n%s\r\n" % (len(frame(seq)), frame(seq)) for seq in (2, 3))),
    ):
        assert [sock.taken for sock in sockets[name]] == [wire, wire]
    assert made.hub.totals.frames_sent == 2 * (2 + 1 + 1 + 2)


def test_who_overflows_leaves_the_live_ones_and_is_told_where_to_read_on() -> None:
    made = World()
    made.stream(1)
    slow, quick = ScriptedSocket(0), ScriptedSocket()
    one = subscriber(slow, bound=4)
    live = made.watch(one)
    made.watch(subscriber(quick))
    for seq in range(2, 10):
        made.hub.on_batch([told(seq)])
    assert quick.taken == frames(2, 9)
    assert (one.joined, one.cursor, len(one.outbox)) == (False, 1, 0)
    assert one.attention.is_set()
    assert made.hub.totals.caught_up == 1
    assert [found.seq for found in made.hub.page(live, one.cursor)] == list(range(2, 10))


def test_dropped_frames_are_counted_even_for_those_who_left() -> None:
    made = World()
    made.stream(0)
    one, two = (subscriber(ScriptedSocket(0), bound=2, drop=True) for _ in range(2))
    live = made.watch(one)
    made.watch(two)
    for seq in range(1, 6):
        made.hub.on_batch([told(seq)])
    assert one.joined
    made.hub.tick(1.0)
    assert made.hub.totals.frames_dropped == 6
    made.hub.on_batch([told(6)])
    made.hub.detach(live, one)
    assert made.hub.totals.frames_dropped == 7


def test_limits_hold_for_connections_that_open_at_the_same_moment() -> None:
    made = World()
    made.stream(0)

    def attach(key_id: str) -> None:
        one = subscriber(key_id=key_id)
        limits = ConnectionLimits(process=5, workspace=3, key=2)
        attached.append((made.hub.attach(1, "c", one, limits=limits), one))

    def full(key_id: str) -> tuple[str, int]:
        with pytest.raises(Full) as caught:
            attach(key_id)
        return caught.value.whose, caught.value.most

    attached: list[tuple[LiveStream, Subscriber]] = []
    attach("key_1")
    attach("key_1")
    assert full("key_1") == ("key", 2)
    attach("key_2")
    assert full("key_3") == ("workspace", 3)
    counts = made.hub.connections
    assert (counts.process, counts.by_workspace, counts.by_key) == (3, {"ws_1": 3}, {"key_1": 2, "key_2": 1})
    made.hub.detach(*attached[0])
    attach("key_1")


def test_a_tick_keeps_the_quiet_alive_and_closes_the_expired() -> None:
    made = World()
    made.stream(0)
    sock = ScriptedSocket()
    one = subscriber(sock, heartbeat_seconds=10, expires_at=25.0)
    made.watch(one)
    for now in (5.0, 10.0, 15.0, 20.0):
        made.hub.tick(now)
    assert sock.taken == 2 * HEARTBEAT
    made.hub.tick(25.0)
    assert one.closing == "expired"


def test_revoked_keys_and_tokens_close_what_they_opened() -> None:
    made = World()
    made.stream(0)
    by_key, by_token, other = subscriber(key_id="k1"), subscriber(key_id="k2", token_id="t1"), subscriber(key_id="k2")
    for one in (by_key, by_token, other):
        made.watch(one)
    made.hub.check_credentials()
    assert [one.closing for one in (by_key, by_token, other)] == [None, None, None]
    made.log.dead |= {"k1", "t1"}
    made.hub.check_credentials()
    assert [one.closing for one in (by_key, by_token, other)] == ["revoked", "revoked", None]
    made.log.dead.add("k2")
    made.hub.check_credentials()
    assert other.closing == "revoked"


def test_a_process_that_ends_closes_everybody_and_sends_on_who_comes_later() -> None:
    made = World()
    made.stream(0)
    many = [subscriber() for _ in range(120)]
    for one in many:
        made.watch(one)
    made.hub.close_all("restart", 0.02)
    assert {one.closing for one in many} == {"restart"}
    late = subscriber()
    made.watch(late)
    assert late.closing == "restart"


def test_rounds_rest_while_nobody_watches_and_have_seen_that_nobody_does() -> None:
    log, bus, steps = MemoryLog(), Followed(), {}
    log.append(1, event(1))
    counts: list[int] = []
    hub = Hub(
        lambda on_batch: bus,
        log,
        observe=lambda hub: counts.append(hub.connections.process),
        repeat=lambda name, seconds, step: steps.update({name: step}),
    )
    one = subscriber()
    live = hub.attach(1, "call_1", one)
    steps["hub-poll"]()
    hub.detach(live, one)
    resting = threading.Thread(target=steps["hub-poll"], daemon=True)
    resting.start()
    eventually(lambda: counts == [1, 0])
    assert resting.is_alive()
    hub.attach(1, "call_1", subscriber())
    eventually(lambda: not resting.is_alive())


def test_rounds_are_made_for_who_reads_the_feed_and_rest_when_he_has_left() -> None:
    counts: list[int] = []
    steps: dict[str, Callable[[], None]] = {}
    hub = Hub(
        lambda on_batch: Followed(),
        MemoryLog({1: [event(1)]}),
        observe=lambda hub: counts.append(hub.connections.process),
        repeat=lambda name, seconds, step: steps.update({name: step}),
    )

    def begin() -> threading.Thread:
        running = threading.Thread(target=steps["hub-poll"], daemon=True)
        running.start()
        return running

    limits = ConnectionLimits(process=2, workspace=2, key=2)
    hub.enter("ws_1", "key_1", limits)  # nobody has watched a stream yet
    eventually(lambda: not begin().is_alive())
    one = subscriber()
    live = hub.attach(1, "call_1", one)
    with pytest.raises(Full):
        hub.enter("ws_1", "key_1", limits)
    hub.detach(live, one)  # the reader outlives the viewer
    eventually(lambda: not begin().is_alive())
    assert set(counts) == {1}
    hub.leave("ws_1", "key_1")
    assert hub.connections == ConnectionCounts()
    resting = begin()
    eventually(lambda: counts[-1] == 0)
    assert resting.is_alive()
    hub.enter("ws_1", "key_1", limits)
    eventually(lambda: not resting.is_alive())


def test_one_who_cannot_be_looked_after_is_given_up_and_the_others_are_looked_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(ScriptedSocket):
        def send(self, data: bytes, flags: int = 0, /) -> int:
            raise ZeroDivisionError

    made = World()
    made.stream(0)
    sockets = [ScriptedSocket() for _ in range(20)]
    broken = [subscriber(Broken(), heartbeat_seconds=10) for _ in range(5)]
    for one in [*(subscriber(sock, heartbeat_seconds=10) for sock in sockets), *broken]:
        made.watch(one)
    for now in (10.0, 20.0):
        made.hub.tick(now)
    assert [bytes(sock.taken) for sock in sockets] == [2 * HEARTBEAT] * 20
    assert all(one.gone for one in broken)
    assert "could not be looked after" in caplog.text
