"""A tick looks at those whose time has come, at those for whom something waits, and at nobody else."""

from __future__ import annotations

from app.live.subscriber import Subscriber
from app.live.wheel import FINENESS_SECONDS, Wheel
from tests.live.scripted import HEARTBEAT, ScriptedSocket, World, frames, subscriber, told


def looked_at(wheel: Wheel, now: float) -> list[Subscriber]:
    found = []
    for one in wheel.due(now):
        one.tick(now, 120)
        found.append(one)
    return found


def test_each_is_looked_at_at_its_own_times_and_not_between() -> None:
    wheel, often, seldom = Wheel(), subscriber(heartbeat_seconds=10), subscriber(heartbeat_seconds=15)
    wheel.add(often)
    wheel.add(seldom)
    looks = {now / 4: looked_at(wheel, now / 4) for now in range(31 * 4)}
    assert {now: found for now, found in looks.items() if found} == {
        10.0: [often], 15.0: [seldom], 20.0: [often], 30.0: looks[30.0],
    }  # fmt: skip
    assert set(looks[30.0]) == {often, seldom}


def test_a_time_that_ends_earlier_comes_first() -> None:
    wheel, one = Wheel(), subscriber(expires_at=3.1)
    wheel.add(one)
    assert looked_at(wheel, 3.1) == []
    assert looked_at(wheel, 3.1 + FINENESS_SECONDS) == [one]
    assert one.closing == "expired"
    assert looked_at(wheel, 4.0) == []  # it need not be told again


def test_a_peer_that_is_silent_is_given_up_in_time() -> None:
    wheel, one = Wheel(), subscriber(heartbeat_seconds=10)
    one.heard_at = 0.0
    wheel.add(one)
    for now in range(26):
        looked_at(wheel, now)
    assert not one.gone
    looked_at(wheel, 25.5)
    assert one.gone


def test_who_has_left_is_not_looked_at() -> None:
    wheel, one, other = Wheel(), subscriber(), subscriber()
    for each in (one, other):
        wheel.add(each)
    wheel.discard(one)
    wheel.discard(one)
    assert looked_at(wheel, 15.0) == [other]
    for each in wheel.due(30.0):
        wheel.discard(each)  # by what its look has led to
    assert looked_at(wheel, 100.0) == []


def test_looks_that_were_missed_are_not_made_up_for() -> None:
    wheel, sock = Wheel(), ScriptedSocket()
    one = subscriber(sock)
    wheel.add(one)
    assert looked_at(wheel, 1000.0) == [one]
    assert sock.taken == HEARTBEAT
    assert looked_at(wheel, 1004.9) == []
    assert looked_at(wheel, 1005.0) == [one]


def test_a_socket_that_stalls_between_two_heartbeats_is_cut_in_time_and_another_is_not() -> None:
    made = World()
    made.stream(0)
    stalled, quick = ScriptedSocket(), ScriptedSocket()
    slow, other = subscriber(stalled), subscriber(quick)
    made.watch(slow)
    made.watch(other)
    for now in range(40):  # quiet for long: that is no reason to be cut sooner
        made.hub.tick(float(now))
    stalled.room = 0
    made.hub.on_batch([told(1)])
    for now in range(40, 161):
        made.hub.tick(float(now))
    assert not slow.gone
    made.hub.tick(161.0)
    assert slow.gone
    assert not other.gone
    assert frames(1, 1) in bytes(quick.taken)
