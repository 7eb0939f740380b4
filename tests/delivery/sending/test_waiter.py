"""Waiting for libcurl's sockets: what stays registered between two requests never reaches libcurl by mistake."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pycurl
import pytest

from app.delivery.sending.waiter import Waiter


class Actions(list[tuple[int, int]]):
    """In libcurl's place: the sockets that it was told to work on, and why."""

    def socket_action(self, descriptor: int, action: int) -> None:
        self.append((descriptor, action))


@pytest.fixture
def actions() -> Actions:
    return Actions()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    readable, writable = os.pipe()
    made = Waiter(readable)
    yield made
    made.close()
    os.close(readable)
    os.close(writable)


def test_a_watched_socket_is_told(waiter: Waiter, actions: Actions, ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    waiter.watch(pycurl.POLL_IN, ours.fileno(), None, None)
    waiter.run(actions, 0)
    assert actions == []
    theirs.send(b".")
    waiter.run(actions, 5)
    assert actions == [(ours.fileno(), pycurl.CSELECT_IN)]
    waiter.watch(pycurl.POLL_INOUT, ours.fileno(), None, None)
    waiter.run(actions, 5)
    assert actions[1:] == [(ours.fileno(), pycurl.CSELECT_IN | pycurl.CSELECT_OUT)]


def test_a_socket_that_is_watched_no_more_is_told_no_more_and_wakes_nobody_twice(
    waiter: Waiter, actions: Actions, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    waiter.watch(pycurl.POLL_IN, ours.fileno(), None, None)
    waiter.watch(pycurl.POLL_REMOVE, ours.fileno(), None, None)
    theirs.send(b".")
    woken = 0
    waiter.set_timer(50)
    while not actions:  # until the timer
        waiter.run(actions, 5)
        woken += 1
    assert actions == [(pycurl.SOCKET_TIMEOUT, 0)]
    assert woken == 2
    waiter.watch(pycurl.POLL_IN, ours.fileno(), None, None)
    waiter.run(actions, 5)
    assert actions[1:] == [(ours.fileno(), pycurl.CSELECT_IN)]


def test_the_number_of_a_closed_socket_is_watched_again_for_another(waiter: Waiter, actions: Actions) -> None:
    first, other = socket.socketpair()
    with first, other:
        number = first.fileno()
        waiter.watch(pycurl.POLL_IN, number, None, None)
        waiter.watch(pycurl.POLL_REMOVE, number, None, None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert ours.fileno() == number
        waiter.watch(pycurl.POLL_IN, number, None, None)
        theirs.send(b".")
        waiter.run(actions, 5)
        assert actions == [(number, pycurl.CSELECT_IN)]
