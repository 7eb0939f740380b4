"""Waits for the sockets and the timer that libcurl names: its "multi socket" interface over epoll."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl


class Waiter:
    """Belongs to one CurlMulti, whose socket and timer callbacks are `watch` and `set_timer`."""

    def __init__(self, wake_descriptor: int, before_action: Callable[[int], None] = lambda descriptor: None) -> None:
        """wake_descriptor: ends a wait when it can be read; whoever owns it reads it. before_action: told of each
        socket that libcurl is about to work on."""
        # macOS, where people develop, has no epoll; poll(2) has the same events and is only slower.
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poller: Any = self._epoll or select.poll()
        self._watched: dict[int, int] = {}  # events by descriptor
        self._wake_descriptor, self._before_action = wake_descriptor, before_action
        self._poller.register(wake_descriptor, select.POLLIN)
        self._bell: int | None = None
        self._timer_at: float | None = None

    def listen(self, descriptor: int | None) -> None:
        """From now on this ends a wait when it can be read, too (None: nothing does); somebody else reads it."""
        if self._bell is not None and self._bell != descriptor and self._bell not in self._watched:
            self._unregister(self._bell)  # its number may be one of libcurl's sockets by now
        self._bell = descriptor
        if descriptor is not None:
            try:
                self._poller.modify(descriptor, select.POLLIN)
            except OSError:  # new, or another one with the number of the last
                self._poller.register(descriptor, select.POLLIN)

    def watch(self, what: int, descriptor: int, _multi: Any, _data: Any) -> None:
        """libcurl's socket callback.

        After each transfer libcurl stops watching the socket, and begins again with the next. Its registration stays
        meanwhile, until it is changed or reports something: that saves a system call or two for each request.
        """
        if what == pycurl.POLL_REMOVE:
            self._watched.pop(descriptor, None)
            return
        events = _EVENTS[what]
        if self._watched.get(descriptor) != events:
            self._watched[descriptor] = events
            try:
                self._poller.modify(descriptor, events)
            except OSError:  # not registered: new, or closed since, which made epoll forget it
                self._poller.register(descriptor, events)

    def set_timer(self, milliseconds: int) -> None:
        """libcurl's timer callback; a negative number means no timer."""
        self._timer_at = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def run(self, multi: Any, timeout_seconds: float) -> bool:
        """Wait for the first thing to do, then let libcurl do everything that can be done now. Returns whether the
        descriptor that was listened to can be read."""
        rung = False
        if self._timer_at is not None:
            timeout_seconds = min(timeout_seconds, self._timer_at - time.monotonic())
        timeout_seconds = max(0.0, timeout_seconds)
        ready = self._epoll.poll(timeout_seconds) if self._epoll else self._poller.poll(timeout_seconds * 1000)
        for descriptor, events in ready:
            if descriptor in self._watched:
                self._before_action(descriptor)
                multi.socket_action(descriptor, _action(events))
            elif descriptor == self._bell:
                rung = True
            elif descriptor != self._wake_descriptor:
                self._unregister(descriptor)
        if self._timer_at is not None and self._timer_at <= time.monotonic():
            self._timer_at = None
            multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return rung

    def _unregister(self, descriptor: int) -> None:
        """Something has come over a connection that is not in use: whoever uses it next will see."""
        with suppress(OSError):  # closed since
            self._poller.unregister(descriptor)

    def close(self) -> None:
        """Give the epoll descriptor back."""
        if self._epoll:
            self._epoll.close()


_EVENTS = {
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
    pycurl.POLL_NONE: 0,
}


def _action(events: int) -> int:
    """The events of poll in libcurl's bits. libcurl learns of an error or of the end of a connection by reading."""
    action: int = pycurl.CSELECT_IN if events & ~select.POLLOUT else 0
    return action | pycurl.CSELECT_OUT if events & select.POLLOUT else action
