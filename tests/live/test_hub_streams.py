"""The hub hands on what follows without a hole, whatever the bus repeats, swaps or loses."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

import pytest

from app.core.contract.frames import View, encode
from app.core.contract.model import FrameForm
from app.core.wire.envelope import Announcement
from app.live.live_stream import RING_BYTES, RING_EVENTS, LiveStream
from app.live.stream_source import Head
from app.live.subscriber import Subscriber
from tests.live.scripted import EVERYTHING, HEARTBEAT, MemoryLog, ScriptedSocket, World, event, frames, subscriber, told


def world(events: int = 3) -> tuple[World, ScriptedSocket, LiveStream]:
    """A stream with so many events and a subscriber at its head."""
    made, sock = World(), ScriptedSocket()
    made.stream(events)
    return made, sock, made.watch(subscriber(sock))


def test_announced_events_are_written_at_once() -> None:
    made, sock, live = world()
    made.hub.on_batch([told(4), told(5)])
    assert sock.taken == frames(4, 5)
    assert live.last_seq == 5
    assert made.log.reads == []


def test_repeats_are_passed_over() -> None:
    made, sock, _ = world()
    made.hub.on_batch([told(4), told(4), told(2)])
    made.hub.on_batch([told(4), told(3)])
    assert sock.taken == frames(4, 4)
    assert made.hub.totals.holes == 0


@pytest.mark.parametrize("order", list(itertools.permutations([4, 5, 6])))
def test_the_order_within_a_read_does_not_matter(order: tuple[int, ...]) -> None:
    made, sock, _ = world()
    made.hub.on_batch([told(seq) for seq in order])
    assert sock.taken == frames(4, 6)


def test_a_hole_is_read_from_the_log_before_anything_behind_it() -> None:
    made, sock, _ = world()
    made.commit(4, 5, 6)
    made.hub.on_batch([told(6)])
    assert sock.taken == frames(4, 6)
    assert made.log.reads == [{1: 3}]
    assert made.hub.totals.holes == 1


def test_a_hole_longer_than_a_page_is_read_page_by_page() -> None:
    made, sock, _ = world()
    made.log.page = 10
    made.commit(*range(4, 40))
    made.hub.on_batch([told(39)])
    assert sock.taken == frames(4, 39)


def test_a_late_one_of_another_process_does_not_bring_anything_twice() -> None:
    made, sock, _ = world()
    made.commit(4, 5)
    made.hub.on_batch([told(5)])  # two processes accept: the second one's announcement came first
    made.hub.on_batch([told(4)])
    made.hub.on_batch([told(6)])
    assert sock.taken == frames(4, 6)


def test_an_event_too_large_for_the_bus_is_read_from_the_log() -> None:
    made, sock, _ = world()
    made.commit(4)
    made.hub.on_batch([told(4, too_large=True)])
    assert sock.taken == frames(4, 4)


def test_what_is_announced_and_not_yet_to_be_read_comes_later() -> None:
    made, sock, live = world()
    made.hub.on_batch([told(5)])  # a replica behind, a foreign entry: the log has nothing
    assert (sock.taken, live.last_seq) == (b"", 3)
    made.commit(4, 5)
    made.hub.on_batch([told(5)])
    assert sock.taken == frames(4, 5)


def test_the_poll_finds_what_the_bus_lost() -> None:
    made, sock, _ = world()
    made.stream(2, stream=2)
    other = ScriptedSocket()
    made.watch(subscriber(other), 2)
    made.commit(4, 5)
    made.commit(3, stream=2)
    made.hub.poll()
    assert sock.taken == frames(4, 5)
    assert other.taken == frames(3, 3)
    assert made.log.reads == [{1: 3, 2: 2}]  # one query for all
    made.hub.poll()
    assert len(made.log.reads) == 1


def test_a_stream_that_was_set_back_is_cut_and_begins_anew_for_whoever_comes() -> None:
    made, sock, live = world()
    (gone,) = live.subscribers
    made.log.events[1] = made.log.events[1][:2]  # a backup was restored: seq 3 is not there any more
    made.hub.poll()
    assert gone.gone
    back = ScriptedSocket()
    anew = made.watch(subscriber(back))
    assert anew is not live
    made.hub.detach(live, gone)
    assert made.bus.streams == [1]
    made.commit(3, 4)
    made.hub.on_batch([told(3), told(4)])
    assert (sock.taken, back.taken) == (b"", frames(3, 4))
    assert made.hub.connections.process == 1


def test_a_stream_whose_history_has_ended_is_cut_although_it_has_grown_beyond_what_was_shown() -> None:
    made, sock, live = world()
    (gone,) = live.subscribers
    made.log.events[1], made.log.epoch = made.log.events[1][:2], 1  # a replica took over, without seq 3
    made.commit(3, 4, 5)
    made.hub.on_batch([told(4, epoch=1), told(5, epoch=1)])
    assert (sock.taken, made.log.reads) == (b"", [])  # of which seq 3 would be another than the one that was shown
    made.hub.poll()
    assert gone.gone
    back = ScriptedSocket()
    anew = made.watch(subscriber(back))
    assert (anew is live, anew.epoch) == (False, 1)
    made.commit(6)
    made.hub.on_batch([told(6), told(6, epoch=1)])
    assert (sock.taken, back.taken) == (b"", frames(6, 6))


def test_whoever_comes_from_the_next_history_is_not_shown_the_former_one() -> None:
    made, _, live = world()
    (gone,) = live.subscribers
    made.log.epoch = 1
    anew = made.hub.attach(1, "call_1", subscriber(), seq=3, epoch=1)
    assert (anew is live, anew.epoch, gone.gone) == (False, 1, True)


def test_what_another_history_announces_is_not_shown() -> None:
    made, sock, _ = world()
    made.hub.on_batch([told(4, epoch=1)])
    assert sock.taken == b""
    made.hub.on_batch([told(4)])
    assert sock.taken == frames(4, 4)


def test_an_end_that_is_announced_before_its_events_waits_for_them() -> None:
    made, sock, live = world()
    made.commit(4, 5)
    made.hub.on_batch([Announcement(1, 5, None, True)])
    assert sock.taken == frames(4, 5)
    assert live.ended
    made, sock, live = world()
    made.hub.on_batch([Announcement(1, 5, None, True)])
    assert not live.ended
    made.hub.on_batch([told(4), told(5)])
    assert sock.taken == frames(4, 5)
    assert live.ended


@pytest.mark.parametrize("bare", [True, False])
def test_an_end_wakes_every_subscriber(bare: bool) -> None:
    made, sock, live = world()
    one = next(iter(live.subscribers))
    assert not live.ended
    made.hub.on_batch([told(3, bare=True, ends=True) if bare else told(4, ends=True)])
    assert live.ended
    assert one.attention.is_set()
    assert sock.taken == (b"" if bare else frames(4, 4))


def test_the_poll_finds_an_end_that_the_bus_lost() -> None:
    made, sock, live = world()
    made.commit(4)
    made.log.ended.add(1)
    made.hub.poll()
    assert live.ended
    assert sock.taken == frames(4, 4)


LINGER = 60


def lingering(ends_at: float = 100.0) -> tuple[World, ScriptedSocket, LiveStream, Subscriber]:
    """A stream that ended at seq 4, and somebody who waits for what may follow."""
    made = World()
    made.stream(3)
    sock = ScriptedSocket()
    one = subscriber(sock, linger_seconds=LINGER)
    live = made.watch(one)
    made.now = ends_at
    made.commit(4)
    made.hub.on_batch([told(4, ends=True)])
    assert live.ended
    one.attention.clear()
    return made, sock, live, one


def test_who_waits_for_late_events_stays_until_the_time_has_passed() -> None:
    made, sock, live, one = lingering()
    made.now = 159.9
    made.hub.tick(made.now)
    assert not live.over(LINGER, made.now)
    assert not one.attention.is_set()
    assert live.over(0, made.now)  # whose contract waits for nothing
    made.now = 160.0
    made.hub.tick(made.now)
    assert live.over(LINGER, made.now)
    assert one.attention.is_set()
    assert HEARTBEAT in bytes(sock.taken)  # it was kept alive meanwhile


def test_a_late_event_is_shown_and_ends_the_waiting() -> None:
    made, sock, live, one = lingering()
    made.commit(5)
    made.hub.on_batch([told(5)])
    assert sock.taken == frames(4, 5)
    assert live.over(LINGER, made.now)
    assert one.attention.is_set()


def test_a_late_event_that_the_bus_lost_is_found() -> None:
    made, sock, live, one = lingering()
    made.commit(5)
    made.log.ended.add(1)
    made.log.late.add(1)
    made.hub.poll()
    assert sock.taken == frames(4, 5)
    assert live.over(LINGER, made.now)
    assert one.attention.is_set()


def test_one_that_came_before_the_end_is_not_waited_for() -> None:
    made, _, live, one = lingering()
    made.log.ended.add(1)
    made.log.late.add(1)
    made.hub.poll()
    made.hub.tick(made.now)
    assert live.over(LINGER, made.now)
    assert one.attention.is_set()


@pytest.mark.parametrize(("seconds", "over"), [(59.0, False), (60.0, True), (3600.0, True)])
def test_who_comes_later_waits_for_what_is_left(seconds: float, over: bool) -> None:
    made = World()
    made.stream(4)
    made.log.ended.add(1)
    made.log.ended_seconds = seconds
    live = made.watch(subscriber(linger_seconds=LINGER))
    assert live.over(LINGER, made.now) == over
    assert live.over(LINGER, made.now + 1)


def test_an_end_that_is_told_again_does_not_move() -> None:
    made, _, live, _ = lingering()
    made.now = 130.0
    made.hub.on_batch([told(4, ends=True, bare=True)])
    made.log.ended.add(1)
    made.hub.poll()
    assert live.over(LINGER, 160.0)
    assert not live.over(LINGER, 159.0)


def test_a_stream_that_was_deleted_closes_its_subscribers() -> None:
    made, _, live = world()
    del made.log.events[1]
    made.hub.poll()
    assert [one.closing for one in live.subscribers] == ["gone"]


def test_what_nobody_watches_costs_nothing() -> None:
    made, _, _ = world()
    made.hub.on_batch([told(1, stream=99), told(7, stream=98)])
    assert made.log.reads == []


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_bus_does_every_subscriber_sees_every_event_once_in_order(seed: int) -> None:
    """Lost, repeated, swapped and oversized announcements, polls, slow sockets that overflow: the books are right."""
    chance = random.Random(seed)
    made, sockets = World(), [ScriptedSocket() for _ in range(3)]
    made.stream(5)
    ones = [subscriber(sock, bound=3) for sock in sockets]
    live, *_ = (made.watch(one) for one in ones)
    committed, pending = 5, []
    while committed < 400:
        for _ in range(chance.randint(1, 5)):
            committed += 1
            made.commit(committed)
            pending += [told(committed, too_large=chance.random() < 0.1)] * chance.choice([0, 1, 1, 1, 2])
        chance.shuffle(pending)
        batch, pending = pending[: chance.randint(0, 8)], pending[8:]
        made.hub.on_batch(batch)
        if chance.random() < 0.2:
            made.hub.poll()
        for sock, one in zip(sockets, ones, strict=True):
            sock.room = chance.choice([0, 7, 100, EVERYTHING])
            catch_up(made, live, one)
    made.hub.poll()
    for sock, one in zip(sockets, ones, strict=True):
        sock.room = EVERYTHING
        catch_up(made, live, one)
        assert bytes(sock.taken) == frames(6, committed)


def catch_up(made: World, live: LiveStream, one: Subscriber) -> None:
    """What a connection's own loop does: drain, and when everything is out, read on until it can join."""
    while one.flush(0.0) and not one.joined and not live.join(one):
        page = made.hub.page(live, one.cursor)
        one.outbox.extend((found.seq, encode(one.view, found, "call_1")) for found in page)
        one.cursor = page[-1].seq


def test_one_stream_that_cannot_be_framed_does_not_hold_up_the_others() -> None:
    made = World()
    flat = View(FrameForm(False, False, "flat", (("a", "$type"),)), "raw", None, None, ())
    made.stream(1, stream=1)
    made.stream(1, stream=2)
    bad, good = ScriptedSocket(), ScriptedSocket()
    made.watch(subscriber(bad, flat), 1)
    made.watch(subscriber(good), 2)
    broken = event(2, data="\\udfff").body.replace(b"\\udfff", b"\xff")
    entry = Announcement(1, 2, event(2).__class__("evt_2", 2, "note", "", broken), False)
    made.hub.on_batch([entry, told(2, stream=2)])
    assert (bad.taken, good.taken) == (b"", frames(2, 2))
    made.commit(2, stream=1)
    made.hub.poll()  # the log knows better
    assert bad.taken == b'data: {"a":"note","n":2}\n\n'


def test_a_database_that_is_away_leaves_everybody_where_they_were() -> None:
    made, sock, live = world()
    made.log.away = True
    with pytest.raises(ConnectionError):
        made.hub.on_batch([told(6)])
    with pytest.raises(ConnectionError):
        made.hub.poll()
    made.log.away = False
    made.commit(4, 5, 6)
    made.hub.poll()
    assert sock.taken == frames(4, 6)
    assert live.last_seq == 6


def test_the_ring_is_bounded_and_says_how_far_back_it_reaches() -> None:
    made, _, live = world(0)
    for seq in range(1, RING_EVENTS + 51):
        made.hub.on_batch([told(seq)])
    assert len(live.ring) == RING_EVENTS
    assert live.recent(49) is None
    assert [one.seq for one in live.recent(50) or []] == list(range(51, RING_EVENTS + 51))
    assert live.recent(RING_EVENTS + 50) == []
    large = event(RING_EVENTS + 51, data='{"x":"' + "x" * RING_BYTES + '"}')
    live.extend([large])
    assert list(live.ring) == [large]  # the newest is always there
    assert live.ring_bytes == len(large.body)


def test_a_page_ends_at_the_head_that_is_known_here() -> None:
    made, _, live = world(3)
    made.commit(4, 5)
    assert [one.seq for one in made.hub.page(live, 1)] == [2, 3]
    assert made.hub.page(live, 3) == []


def test_while_nothing_happens_each_poll_asks_with_what_the_last_one_has_made() -> None:
    class Noting(MemoryLog):
        """Keeps what it was asked about."""

        def moved(self, known: Mapping[int, int], epoch: int) -> Mapping[int, Head | None]:
            asked.append((known, dict(known)))
            return super().moved(known, epoch)

    asked: list[tuple[Mapping[int, int], dict[int, int]]] = []
    made = World(log=Noting())
    for stream in (1, 2):
        made.stream(3, stream)
    first, second = subscriber(), subscriber()
    live = made.watch(first, 1)

    def poll_thrice() -> tuple[int, dict[int, int]]:
        """How many objects it was asked with, and what the last says."""
        asked.clear()
        for _ in range(3):
            made.hub.poll()
        return len({id(known) for known, _ in asked}), asked[-1][1]

    assert poll_thrice() == (1, {1: 3})
    other = made.watch(second, 2)
    assert poll_thrice() == (1, {1: 3, 2: 3})
    made.hub.on_batch([told(4)])
    made.commit(4)
    assert poll_thrice() == (1, {1: 4, 2: 3})
    made.commit(4, stream=2)  # the bus has lost it: the first poll finds it
    assert poll_thrice() == (2, {1: 4, 2: 4})
    made.hub.detach(live, first)
    assert poll_thrice() == (1, {2: 4})
    made.hub.detach(other, second)
    asked.clear()
    made.hub.poll()
    assert asked == []
