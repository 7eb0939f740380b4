"""A subscriber's socket takes what it takes: nothing is ever written behind half a frame, and nothing is forgotten."""

from __future__ import annotations

import random
import socket

import pytest

from app.live.subscriber import Subscriber
from tests.live.scripted import EVERYTHING, HEARTBEAT, VIEW, ScriptedSocket, frame, frames, subscriber, terms


def write(one: Subscriber, *seqs: int) -> bool:
    """As the hub writes a tick's frames."""
    given = [(seq, frame(seq)) for seq in seqs]
    return one.write(given, b"".join(data for _, data in given))


def test_what_the_socket_takes_is_gone() -> None:
    sock = ScriptedSocket()
    one = subscriber(sock)
    assert write(one, 1, 2, 3)
    assert sock.taken == frames(1, 3)
    assert not one.outbox
    assert not one.attention.is_set()


@pytest.mark.parametrize("room", range(len(frames(1, 3)) + 1))
def test_a_partial_send_goes_on_exactly_where_it_stopped(room: int) -> None:
    sock = ScriptedSocket(room)
    one = subscriber(sock)
    assert write(one, 1, 2, 3)
    assert one.attention.is_set() == (room < len(frames(1, 3)))
    assert write(one, 4)  # behind what waits, never before it
    for _ in range(len(frames(1, 4))):
        sock.room += 1
        one.flush(0.0)
    assert sock.taken == frames(1, 4)
    assert not one.outbox


@pytest.mark.parametrize("room", range(len(frames(1, 2)) + 1))
def test_an_overflow_keeps_only_the_rest_of_a_half_sent_frame(room: int) -> None:
    """Catch up: the queue is let go, and the cursor says from where to read on."""
    sock = ScriptedSocket(room)
    one = subscriber(sock, bound=3)
    assert write(one, 1, 2, 3)
    assert not write(one, 4, 5, 6, 7)
    sock.room = EVERYTHING
    assert one.flush(0.0)
    assert sock.taken == frames(1, one.cursor)  # whole frames, and all of them up to the cursor
    assert one.take_dropped() == 0


def test_an_overflow_within_one_write_counts_from_the_first_frame_that_does_not_fit() -> None:
    one = subscriber(ScriptedSocket(0), bound=3)
    assert not write(one, 5, 6, 7, 8)
    assert one.cursor == 4
    assert not one.outbox


def test_seqs_that_the_view_does_not_show_are_no_reason_to_read_them_again() -> None:
    one = subscriber(ScriptedSocket(0), bound=1)
    assert not write(one, 10, 20)
    assert one.cursor == 9


def test_a_heartbeat_that_waits_does_not_hide_the_cursor() -> None:
    sock = ScriptedSocket(3)
    one = subscriber(sock, bound=2)
    one.tick(15.0, 60)  # of the heartbeat, only `: k` is taken
    assert write(one, 8)
    assert not write(one, 9)
    assert one.cursor == 7
    sock.room = EVERYTHING
    assert one.flush(0.0)
    assert sock.taken == HEARTBEAT


@pytest.mark.parametrize("room", [0, 5, len(frame(1)), len(frame(1)) + 5])
def test_dropping_drops_the_newest_and_counts_them(room: int) -> None:
    sock = ScriptedSocket(room)
    one = subscriber(sock, bound=3, drop=True)
    assert write(one, 1, 2)
    assert write(one, 3, 4, 5, 6)
    assert write(one, 7)
    kept = 3 + room // len(frame(1))  # those that went out at once leave room for others
    assert one.take_dropped() == 7 - kept
    assert one.take_dropped() == 0
    sock.room = EVERYTHING
    assert one.flush(0.0)
    assert sock.taken == frames(1, kept)
    assert write(one, 8)
    assert sock.taken == frames(1, kept) + frame(8)


def test_a_broken_socket_is_noticed_and_nothing_is_kept_for_it() -> None:
    one = subscriber(ScriptedSocket(broken=True))
    assert write(one, 1)
    assert one.gone
    assert one.attention.is_set()
    assert write(one, 2)
    assert not one.outbox


def test_a_socket_that_breaks_while_it_drains_is_noticed() -> None:
    sock = ScriptedSocket(3)
    one = subscriber(sock)
    write(one, 1)
    sock.broken = True
    one.flush(0.0)
    assert one.gone


def test_an_answer_that_is_no_event_never_costs_one() -> None:
    sock = ScriptedSocket(0)
    one = subscriber(sock, bound=3)
    one.say(b"<pong>")
    assert write(one, 1, 2)
    for _ in range(10):
        one.say(b"<pong>")  # the queue is full: let go
    sock.room = EVERYTHING
    assert one.flush(0.0)
    one.say(b"<pong>")
    assert sock.taken == b"<pong>" + frames(1, 2) + b"<pong>"


def test_heartbeats_come_by_the_clock_and_not_before_the_headers() -> None:
    sock = ScriptedSocket()
    one = subscriber(sock, heartbeat_seconds=15)
    one.started = False
    one.tick(20.0, 60)
    assert sock.taken == b""
    one.started = True
    for now in (29.9, 30.0, 30.1, 44.9):
        one.tick(now, 60)
    assert sock.taken == HEARTBEAT
    one.tick(200.0, 300)  # a clock that jumped: one heartbeat, not eleven
    one.tick(200.2, 300)
    assert sock.taken == 2 * HEARTBEAT


def test_no_heartbeat_goes_into_a_frame_or_behind_a_farewell() -> None:
    sock = ScriptedSocket(5)
    one = subscriber(sock)
    write(one, 1)
    one.tick(15.0, 60)
    assert sock.taken == frame(1)[:5]
    sock.room = EVERYTHING
    one.flush(15.0)
    one.close("ended")
    one.tick(30.0, 60)
    assert sock.taken == frame(1)


def test_who_is_to_go_gets_what_waits_and_nothing_new() -> None:
    """However slowly it reads: a revoked key must not see on because its queue never runs empty."""
    sock = ScriptedSocket(5)
    one = subscriber(sock, bound=3, drop=True)
    assert write(one, 1, 2)
    one.close("revoked")
    assert write(one, 3)
    sock.room = EVERYTHING
    assert one.flush(0.0)
    assert write(one, 4)
    assert sock.taken == frames(1, 2)


def test_the_time_of_a_token_ends_the_connection() -> None:
    one = subscriber(expires_at=100.0)
    one.tick(99.9, 60)
    assert one.closing is None
    one.tick(100.0, 60)
    assert one.closing == "expired"
    assert one.attention.is_set()
    one.close("restart")
    assert one.closing == "expired"  # the first reason stays


def test_a_socket_that_takes_nothing_for_long_is_given_up() -> None:
    sock = ScriptedSocket(0)
    one = subscriber(sock)
    one.tick(1000.0, 120)  # nothing waits: no stall, however long ago
    write(one, 1)
    one.tick(1119.0, 120)
    assert not one.gone
    sock.room = 1
    one.flush(1119.0)  # a byte is progress
    one.tick(1238.0, 120)
    assert not one.gone
    one.tick(1240.0, 120)
    assert one.gone


@pytest.mark.parametrize("seed", range(20))
def test_a_real_socket_with_a_tiny_buffer_gets_whole_frames_in_order(seed: int) -> None:
    """Whatever the kernel takes, and however often the queue overflows, the bytes are frames 1 to n."""
    chance = random.Random(seed)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        theirs.setblocking(False)
        one = Subscriber(ours, VIEW, terms(bound=64), 0.0)
        got, next_seq, last = bytearray(), 1, 3000
        while next_seq <= last or one.outbox:
            if next_seq <= last and (one.joined or not one.outbox):
                one.joined = True
                count = min(chance.randint(1, 40), last + 1 - next_seq)
                if write(one, *range(next_seq, next_seq + count)):
                    next_seq += count
                else:  # overflowed: once drained it reads on from its cursor
                    one.joined, next_seq = False, one.cursor + 1
            elif not one.flush(0.0) or chance.random() < 0.3:
                got += _receive(theirs, chance.randint(1, 4000))
            if chance.random() < 0.2:
                got += _receive(theirs, chance.randint(1, 4000))
        while len(got) < len(frames(1, last)):
            got += _receive(theirs, 65536)
        assert bytes(got) == frames(1, last)


def _receive(sock: socket.socket, most: int) -> bytes:
    try:
        return sock.recv(most)
    except BlockingIOError:
        return b""


def test_nothing_is_sent_behind_the_farewell() -> None:
    """RFC 6455 section 5.5.1: no data frame follows a Close frame."""
    sock = ScriptedSocket()
    one = subscriber(sock)
    one.started = True
    one.finish(b"goodbye")
    one.say(b"an answer")
    assert write(one, 1)
    assert one.flush(0.0)
    one.say(b"an answer")
    one.tick(1_000_000.0, 120.0)
    assert sock.taken == b"goodbye"
