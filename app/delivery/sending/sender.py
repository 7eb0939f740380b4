"""Send many webhooks at once through libcurl, each to an address that is allowed and within hard limits.

One `Sender` belongs to one process and one thread. libcurl says which sockets it waits for and until when, and epoll
waits: the cost of a transfer does not grow with the number of others that hang, nor with the number of open files.
Names are looked up before libcurl has the request (resolver.py); the addresses are judged when a socket is opened.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import certifi
import pycurl

from app.core.webhook.addresses import Network, name_of
from app.core.webhook.retry import Outcome
from app.delivery.sending.resolver import Answer, Resolver
from app.delivery.sending.transfer import Request, ResolvedHost, Result, Transfer, unsent

__all__ = ["Request", "Result", "Sender"]

# Connections and handles kept that are idle: as many as a busy drain uses at a time.
MAX_CONNECTIONS = 512
# By how much libcurl's own limit is moved at a time.
_CONNECTIONS_STEP = 256
# Receivers that are known to speak HTTP/2; who is forgotten is learned again by the next answer.
MAX_HTTP2_KNOWN = 4096


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request whose host name is being looked up. request: None when it waits no more."""

    request: Request | None
    name: str
    port: int
    since: float


class Sender:
    """POSTs in flight: ``add`` requests, then ``poll`` for results. Make it in the process that uses it."""

    def __init__(
        self,
        allow_subnets: Sequence[Network],
        total_seconds: float = 15,
        connect_seconds: float = 5,
        *,
        ca_file: str | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """``allow_subnets``: networks that may be reached although not public. ``total_seconds`` covers everything
        from the look-up of the name to the last byte, ``connect_seconds`` up to and including the TLS handshake.
        ``ca_file``: trusted certificates (PEM) instead of those of ``certifi``. ``resolver``: is closed with us."""
        self._allow = tuple(allow_subnets)
        self._total_seconds, self._connect_seconds = total_seconds, connect_seconds
        self._look_up_seconds = min(total_seconds, connect_seconds)
        self._ca_file = ca_file or certifi.where()
        self._pid = os.getpid()
        self._active: dict[Any, Transfer] = {}  # by easy handle
        self._idle: list[Transfer] = []
        self._unsent: list[Result] = []
        self._resolver = resolver or Resolver()
        self._waiting: dict[str, list[_Waiting]] = {}  # by name
        self._oldest: deque[_Waiting] = deque()
        self._http2: set[str] = set()
        self._waiter = _Waiter(self._resolver.fileno())
        self._multi = pycurl.CurlMulti()
        self._most_connections = 0
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._waiter.watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._waiter.set_timer)

    @property
    def in_flight(self) -> int:
        """How many requests were added whose results have not been returned."""
        return len(self._active) + len(self._unsent) + sum(map(len, self._waiting.values()))

    def add(self, request: Request) -> None:
        """Start one request. It never fails here: what cannot be sent is a ``protocol_error`` of the next ``poll``.

        Raises RuntimeError after a fork: libcurl handles must not be shared between processes.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a Sender belongs to the process that made it: make another one after a fork")
        try:
            name = _name_of(request.url)
        except ValueError as error:
            self._refuse(request, error)
            return
        if name is None:
            self._start(request, None)
            return
        waiting = _Waiting(request, *name, time.monotonic())
        answer = self._resolver.ask(waiting.name, request.owner)
        if answer is not None:
            self._go_on(waiting, answer)
        else:
            self._waiting.setdefault(waiting.name, []).append(waiting)
            self._oldest.append(waiting)

    def poll(self, timeout_seconds: float) -> list[Result]:
        """The results that have come since the last call; waits up to ``timeout_seconds`` for the first.

        Returns at once when nothing is in flight.
        """
        results: list[Result] = []
        ends_at = time.monotonic() + timeout_seconds
        while True:
            self._look()
            results += self._unsent
            self._unsent = []
            busy = self._active or self._waiting
            wait_seconds = 0.0 if results or not busy else ends_at - time.monotonic()
            if self._oldest:
                wait_seconds = min(wait_seconds, self._oldest[0].since + self._look_up_seconds - time.monotonic())
            self._waiter.run(self._multi, wait_seconds)
            self._collect(results)
            if results or not busy or time.monotonic() >= ends_at:
                return results

    def close(self) -> None:
        """Give up what is in flight and close every connection. Look-ups under way end by themselves."""
        self._resolver.close()
        for transfer in self._active.values():
            self._multi.remove_handle(transfer.curl)
        for transfer in [*self._active.values(), *self._idle]:
            transfer.curl.close()
        self._active.clear()
        self._idle.clear()
        self._waiting.clear()
        self._oldest.clear()
        self._multi.close()
        self._waiter.close()

    def _look(self) -> None:
        """Go on with the requests whose names have been looked up, and end those that have waited for too long."""
        for name, answer in self._resolver.take().items():
            for waiting in self._waiting.pop(name, ()):
                self._go_on(waiting, answer)
        now = time.monotonic()
        while self._oldest:
            first = self._oldest[0]
            if first.request is not None:
                seconds = now - first.since
                if seconds < self._look_up_seconds:
                    return
                self._waiting[first.name].remove(first)
                if not self._waiting[first.name]:
                    del self._waiting[first.name]
                    self._resolver.forget(first.name)
                words = f"Resolving timed out after {round(seconds * 1000)} milliseconds"
                self._unsent.append(unsent(first.request, Outcome.TIMEOUT, words, seconds))
            self._oldest.popleft()

    def _go_on(self, waiting: _Waiting, answer: Answer) -> None:
        request, waiting.request = waiting.request, None
        assert request is not None
        seconds = time.monotonic() - waiting.since
        if answer.error is not None:
            self._unsent.append(unsent(request, Outcome.DNS_ERROR, answer.error, seconds))
        else:
            self._start(request, ResolvedHost(waiting.name, waiting.port, answer.addresses, seconds))

    def _start(self, request: Request, found: ResolvedHost | None) -> None:
        """Hand a request to libcurl."""
        transfer = self._idle.pop() if self._idle else self._new_transfer()
        try:
            transfer.prepare(request, found, wait_for_connection=_origin(request.url) in self._http2)
            self._multi.add_handle(transfer.curl)
        except (pycurl.error, ValueError, TypeError) as error:
            transfer.curl.close()
            self._refuse(request, error)
            return
        self._active[transfer.curl] = transfer
        self._keep_connections()

    def _keep_connections(self) -> None:
        """Raise libcurl's limit with what is in flight. It counts connections in use, too: while 512 requests hang it
        would close each other connection as soon as that is idle, and open a new one for each request."""
        steps = len(self._active) // _CONNECTIONS_STEP + 1
        if self._most_connections != (most := MAX_CONNECTIONS + steps * _CONNECTIONS_STEP):
            self._most_connections = most
            self._multi.setopt(pycurl.M_MAXCONNECTS, most)

    def _refuse(self, request: Request, error: Exception) -> None:
        self._unsent.append(unsent(request, Outcome.PROTOCOL_ERROR, f"the request could not be made: {error}"))

    def _collect(self, results: list[Result]) -> None:
        waiting = 1
        while waiting:
            waiting, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                results.append(self._finish(curl, pycurl.E_OK, ""))
            for curl, code, message in failed:
                results.append(self._finish(curl, code, message))

    def _finish(self, curl: Any, code: int, message: str) -> Result:
        transfer = self._active.pop(curl)
        self._learn(transfer)
        result = transfer.result(code, message)
        self._multi.remove_handle(curl)
        transfer.forget()
        if len(self._idle) < MAX_CONNECTIONS:
            self._idle.append(transfer)
        else:
            curl.close()
        return result

    def _learn(self, transfer: Transfer) -> None:
        """Remember which receivers speak HTTP/2. Their requests then wait for a connection that is being opened rather
        than open one each: 200 POSTs at once cost 0.1 ms of CPU each and not 1 ms. For any other receiver they would
        wait for the answer to the first request, which may never come."""
        version = transfer.curl.getinfo(pycurl.INFO_HTTP_VERSION)
        origin = _origin(transfer.url)
        if version == pycurl.CURL_HTTP_VERSION_2_0:
            if len(self._http2) >= MAX_HTTP2_KNOWN:
                self._http2.clear()
            self._http2.add(origin)
        elif version:
            self._http2.discard(origin)

    def _new_transfer(self) -> Transfer:
        transfer = Transfer(self._allow, self._total_seconds, self._connect_seconds)
        transfer.curl.setopt(pycurl.CAINFO, self._ca_file)
        return transfer


_name_of = lru_cache(MAX_CONNECTIONS)(name_of)  # a rush goes to few URLs


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


class _Waiter:
    """Waits for the sockets and the timer that libcurl names (its "multi socket" interface), and for a bell."""

    def __init__(self, bell: int) -> None:
        """bell: a descriptor that ends a wait when it can be read. Whoever reads it is somebody else."""
        # macOS, where people develop, has no epoll; poll(2) has the same events and is slower only.
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poller: Any = self._epoll or select.poll()
        self._watched: dict[int, int] = {}
        self._bell = bell
        self._poller.register(bell, select.POLLIN)
        self._timer_at: float | None = None

    def watch(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        """libcurl's socket callback."""
        if what == pycurl.POLL_REMOVE:
            if self._watched.pop(fd, None) is not None:
                with suppress(OSError):  # closed already: epoll has forgotten it by itself
                    self._poller.unregister(fd)
            return
        events = _EVENTS[what]
        if fd not in self._watched:
            self._poller.register(fd, events)
        elif self._watched[fd] != events:
            self._poller.modify(fd, events)
        self._watched[fd] = events

    def set_timer(self, milliseconds: int) -> None:
        """libcurl's timer callback; negative: none."""
        self._timer_at = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def run(self, multi: Any, timeout_seconds: float) -> None:
        """Wait for the first thing to do, then let libcurl do all that can be done now."""
        if self._timer_at is not None:
            timeout_seconds = min(timeout_seconds, self._timer_at - time.monotonic())
        timeout_seconds = max(0.0, timeout_seconds)
        ready = self._epoll.poll(timeout_seconds) if self._epoll else self._poller.poll(timeout_seconds * 1000)
        for fd, events in ready:
            if fd != self._bell:
                multi.socket_action(fd, _action(events))
        if self._timer_at is not None and self._timer_at <= time.monotonic():
            self._timer_at = None
            multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

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
    """What poll found, in libcurl's bits. An error or the end of a connection is found by reading."""
    action: int = pycurl.CSELECT_IN if events & ~select.POLLOUT else 0
    return action | pycurl.CSELECT_OUT if events & select.POLLOUT else action
