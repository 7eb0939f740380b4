"""Send many webhooks at once through libcurl, each to an address that is allowed and within hard limits.

libcurl says which sockets it waits for and until when, and epoll waits: the cost of a transfer does not grow with the
number of others that hang, nor with the number of open files.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import certifi
import pycurl

from app.core.webhook.addresses import Network
from app.core.webhook.retry import Outcome
from app.delivery.sending.connections import Connections
from app.delivery.sending.lookups import LookUps
from app.delivery.sending.receivers import Receivers
from app.delivery.sending.request import Request, Result, standing_seconds, unsent
from app.delivery.sending.resolver import Resolver
from app.delivery.sending.transfer import ResolvedHost, Transfer
from app.delivery.sending.verdict import BODY_SECONDS, BrokenOff
from app.delivery.sending.waiter import Waiter

__all__ = ["Request", "Result", "Sender", "standing_seconds"]

log = logging.getLogger(__name__)

# Connections and handles kept that are idle: as many as a busy drain uses at a time.
MAX_CONNECTIONS = 512
# By how much libcurl's own limit is moved at a time.
_CONNECTIONS_STEP = 256


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
        self._ca_file = ca_file or certifi.where()
        self._pid = os.getpid()
        self._active: dict[Any, Transfer] = {}  # by easy handle
        self._idle: list[Transfer] = []
        self._results: list[Result] = []
        self._new_heads: list[Transfer] = []
        self._bodies: deque[tuple[float, Transfer, Request]] = deque()  # each with the end of its time
        resolver = resolver or Resolver()
        self._look_ups = LookUps(resolver, min(total_seconds, connect_seconds))
        self._connections, self._receivers = Connections(), Receivers()
        self._waiter = Waiter(resolver.fileno(), self._connections.shut_down_if_left)
        self._multi = pycurl.CurlMulti()
        self._most_connections = 0
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._waiter.watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._waiter.set_timer)

    @property
    def in_flight(self) -> int:
        """How many requests were added whose results have not been returned."""
        return len(self._active) + len(self._results) + len(self._look_ups.failed) + len(self._look_ups)

    def add(self, request: Request) -> None:
        """Start one request. It never fails here: what cannot be sent is a ``protocol_error`` of the next ``poll``.

        Raises RuntimeError after a fork: libcurl handles must not be shared between processes.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a Sender belongs to the process that made it: make another one after a fork")
        try:
            self._look_ups.add(request)
        except ValueError as error:
            self._refuse(request, error)
        self._start_resolved()

    def poll(self, timeout_seconds: float, bell: int | None = None) -> list[Result]:
        """The results that have come since the last call; waits up to ``timeout_seconds`` for the first, or until
        ``bell``, a descriptor, can be read.

        Returns at once when nothing is in flight.
        """
        self._waiter.listen(bell)
        ends_at = time.monotonic() + timeout_seconds
        while True:
            self._look_ups.advance()
            self._start_resolved()
            results = self._take_results()
            is_busy = bool(self._active or self._look_ups)
            until = [ends_at, self._look_ups.ends_at or ends_at, self._bodies[0][0] if self._bodies else ends_at]
            rung = self._waiter.run(self._multi, 0.0 if results or not is_busy else min(until) - time.monotonic())
            self._collect()
            self._end_late_bodies()
            results += self._take_results()
            if results or rung or not is_busy or time.monotonic() >= ends_at:
                return results

    def close(self) -> None:
        """Give up what is in flight and close every connection. Look-ups under way end by themselves."""
        self._look_ups.close()
        for transfer in self._active.values():
            self._multi.remove_handle(transfer.curl)
        for transfer in [*self._active.values(), *self._idle]:
            transfer.curl.close()
        self._active.clear()
        self._idle.clear()
        self._multi.close()
        self._waiter.close()

    def _take_results(self) -> list[Result]:
        results, self._results = self._results + self._look_ups.failed, []
        self._look_ups.failed = []
        return results

    def _start_resolved(self) -> None:
        """Hand the requests whose names have been looked up to libcurl."""
        while self._look_ups.resolved:
            self._start(*self._look_ups.resolved.popleft())

    def _start(self, request: Request, host: ResolvedHost | None) -> None:
        transfer = self._idle.pop() if self._idle else self._new_transfer()
        try:
            transfer.prepare(
                request,
                host,
                wait_for_connection=self._receivers.speaks_http2(request.url),
                own_connection=request.own_connection or self._receivers.is_distrusted(request.url),
            )
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
        self._results.append(unsent(request, Outcome.PROTOCOL_ERROR, f"the request could not be made: {error}"))

    def _collect(self) -> None:
        """Take from libcurl what it is done with."""
        waiting = 1
        while waiting:
            waiting, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._end(self._active[curl])
            for curl, code, message in failed:
                transfer = self._active[curl]
                if transfer.needs_new_connection:
                    self._multi.remove_handle(curl)
                    transfer.prepare_again()
                    self._multi.add_handle(curl)
                else:
                    self._end(transfer, code, message)

    def _end_late_bodies(self) -> None:
        """End the transfers whose answers are decided, and whose bodies have had their time."""
        now = time.monotonic()
        for transfer in self._new_heads:
            if transfer.request is not None:  # else it has ended since
                self._bodies.append((now + BODY_SECONDS, transfer, transfer.request))
        self._new_heads.clear()
        while self._bodies:
            until, transfer, request = self._bodies[0]
            if transfer.request is request:
                if now < until:
                    return
                self._end(transfer, broken_off=BrokenOff.LATE)
            self._bodies.popleft()

    def _end(
        self, transfer: Transfer, code: int = pycurl.E_OK, message: str = "", broken_off: BrokenOff | None = None
    ) -> None:
        """Turn a transfer into a result. broken_off: why libcurl is to stop, if it is not done."""
        assert transfer.request is not None
        result = transfer.result(code, message, broken_off)
        self._learn(transfer, transfer.request.url, result)
        self._results.append(result)
        del self._active[transfer.curl]
        self._multi.remove_handle(transfer.curl)
        transfer.forget()
        if len(self._idle) < MAX_CONNECTIONS:
            self._idle.append(transfer)
        else:
            transfer.curl.close()

    def _learn(self, transfer: Transfer, url: str, result: Result) -> None:
        """Remember what this transfer shows of its receiver."""
        version = transfer.curl.getinfo(pycurl.INFO_HTTP_VERSION)
        if version:
            self._receivers.answered(url, in_http2=version == pycurl.CURL_HTTP_VERSION_2_0)
        if result.again and transfer.broken_off != BrokenOff.REPEATED:
            self._receivers.distrust(url)
        if transfer.refused and transfer.host_name:  # its owner is not told the addresses
            refused = ", ".join(f"{ip} is {reason}" for ip, reason in transfer.refused)
            log.info("refused for a webhook to %s: %s", transfer.host_name, refused)

    def _new_transfer(self) -> Transfer:
        return Transfer(
            self._connections,
            self._allow,
            self._total_seconds,
            self._connect_seconds,
            ca_file=self._ca_file,
            on_head=self._new_heads.append,
        )
