"""One POST of a webhook: an easy handle of libcurl, what it may do, and what it heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pycurl

from app.core.webhook.addresses import Network
from app.core.webhook.headers import CONTENT_TYPE, USER_AGENT
from app.core.webhook.retry import Outcome
from app.delivery.sending.answer import Answer
from app.delivery.sending.connections import Connection, Connections
from app.delivery.sending.guard import Guard
from app.delivery.sending.request import Phases, Request, Result, standing_seconds
from app.delivery.sending.verdict import BrokenOff, Ending, by_status, judge, may_go_again

# An idle connection is not used after this: load balancers close theirs after 60 s, and a POST that meets the closing
# fails and has to be sent again.
MAX_IDLE_SECONDS = 50
# No connection lives longer than this: a receiver that moves to another address is followed.
MAX_CONNECTION_SECONDS = 300

# libcurl asks us before it reads up to 22 of these (`_on_round`): the smallest that it allows.
READ_BYTES = 1024
# How often libcurl asks between a request and the end of an answer that comes in one piece: five to seven times.
ROUNDS_OF_AN_ANSWER = 7


class ResolvedHost(NamedTuple):
    """What was looked up for a request: name, port and the addresses to try, and how long that took."""

    name: str
    port: int
    addresses: Sequence[str]
    seconds: float


class Transfer:
    """One easy handle, used for one request after another, and what it has heard of the present one.

    The options that differ between requests (URL, headers, body, addresses, time, connection) are set for each of them;
    nothing else is ever set. libcurl's callbacks must not raise, and must not call libcurl.
    """

    def __init__(
        self,
        connections: Connections,
        allow: Sequence[Network],
        total_seconds: float,
        connect_seconds: float,
        *,
        ca_file: str,
        on_head: Callable[[Transfer], None],
    ) -> None:
        """on_head: called when the head of the answer is complete, from a callback."""
        self._connections, self._guard = connections, Guard(allow)
        self._total_seconds, self._connect_seconds = total_seconds, connect_seconds
        self._host: ResolvedHost | None = None
        self._entries: list[str] = []
        self._spent_seconds = -1.0
        self._set_time = (-1.0, -1.0)
        self._began_at = 0.0
        self._set_connection = (False, False)
        self._set_waiting = False
        self._answer = Answer(self._may_begin, lambda: on_head(self))
        self._opened: list[Connection] = []
        self._connection: Connection | None = None
        self.request: Request | None = None
        """The present one."""
        self._is_https = False
        self.curl = pycurl.Curl()
        for option, value in _FIXED_OPTIONS:
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.CAINFO, ca_file)
        # libcurl keeps addresses for all handles together: those of this one are to serve its own request and no other.
        self._addresses = pycurl.CurlShare()
        self._addresses.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_DNS)
        self.curl.setopt(pycurl.SHARE, self._addresses)
        self._set_callbacks()
        self.forget()

    def _set_callbacks(self) -> None:
        """In the order in which libcurl calls them."""
        self.curl.setopt(pycurl.XFERINFOFUNCTION, self._on_round)
        self.curl.setopt(pycurl.RESOLVER_START_FUNCTION, self._on_look_up)
        self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self._on_open_socket)
        self.curl.setopt(pycurl.SOCKOPTFUNCTION, self._on_socket)
        self.curl.setopt(pycurl.PREREQFUNCTION, self._on_connected)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._answer.on_line)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._answer.on_chunk)

    @property
    def broken_off(self) -> BrokenOff | None:
        """Why a callback of ours ended the transfer, if one did."""
        return self._broken_off

    @property
    def needs_new_connection(self) -> bool:
        """Whether it ended before the request was sent, because the connection that libcurl chose was not fit for it:
        closed by the receiver, or holding an answer that nobody asked for."""
        return self._is_unfit

    @property
    def host_name(self) -> str | None:
        """The name that was looked up; None when the URL holds an address."""
        return self._host.name if self._host else None

    @property
    def refused(self) -> Sequence[tuple[str, str]]:
        """The addresses that the guard refused, each with the reason."""
        return self._guard.refused

    def prepare(
        self,
        request: Request,
        host: ResolvedHost | None,
        *,
        wait_for_connection: bool = False,
        own_connection: bool = False,
    ) -> None:
        """Set the handle up. ``host``: None when the URL names none that must be looked up.
        ``wait_for_connection``: if one to the receiver is being opened, rather than open another.
        ``own_connection``: use a new one, and for nothing else.

        Raises ValueError, TypeError or pycurl.error for what cannot stand in a request.
        """
        self.request = request
        self._is_https = request.url[:6].lower() == "https:"
        self.curl.setopt(pycurl.URL, request.url)
        self.curl.setopt(pycurl.HTTPHEADER, _head_lines(request.headers))
        self.curl.setopt(pycurl.POSTFIELDS, request.body)
        if wait_for_connection != self._set_waiting:
            self._set_waiting = wait_for_connection
            self.curl.setopt(pycurl.PIPEWAIT, wait_for_connection)
        self._use_addresses(host)
        self._use_connection(fresh=own_connection, alone=own_connection)
        self._use_time(host.seconds if host else 0.0)

    def prepare_again(self) -> None:
        """Set the handle up for the same request over a new connection, in the time that is left."""
        spent_seconds = self._spent_seconds + self.curl.getinfo(pycurl.TOTAL_TIME)
        self._forget_what_was_heard()
        self._use_connection(fresh=True, alone=False)
        self._use_time(spent_seconds)

    def _use_addresses(self, host: ResolvedHost | None) -> None:
        """Have libcurl try these addresses, and know nothing of the last request's."""
        before, self._host = self._host, host
        entries = [f"-{before.name}:{before.port}"] if before else []
        if host:
            addresses = ",".join(f"[{ip}]" if ":" in ip else ip for ip in host.addresses)
            entries.append(f"{host.name}:{host.port}:{addresses}")
        if entries or self._entries:
            self.curl.setopt(pycurl.RESOLVE, entries)
            self._entries = entries

    def _use_connection(self, *, fresh: bool, alone: bool) -> None:
        """fresh: a new one. alone: no other request may use it, and it speaks HTTP/1.1, because a receiver that refuses
        single HTTP/2 requests, or asks for HTTP/1.1, is to get this request all the same."""
        if (fresh, alone) != self._set_connection:
            self._set_connection = fresh, alone
            self.curl.setopt(pycurl.FRESH_CONNECT, fresh)
            self.curl.setopt(pycurl.FORBID_REUSE, alone)
            self.curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1 if alone else _HTTP_VERSION)

    def _use_time(self, spent_seconds: float) -> None:
        """Set the limits to what is left of them."""
        self._spent_seconds, self._began_at = spent_seconds, time.monotonic()
        own = self.request.total_seconds if self.request is not None else None
        total_seconds = self._total_seconds if own is None else min(own, self._total_seconds)
        if (spent_seconds, total_seconds) != self._set_time:
            self._set_time = spent_seconds, total_seconds
            self.curl.setopt(pycurl.TIMEOUT_MS, _milliseconds(total_seconds - spent_seconds))
            self.curl.setopt(pycurl.CONNECTTIMEOUT_MS, _milliseconds(self._connect_seconds - spent_seconds))

    def forget(self) -> None:
        """Drop everything that belongs to one request; the handle itself lets go of the body, which may be large."""
        self.request = None
        self._forget_what_was_heard()
        self.curl.setopt(pycurl.POSTFIELDS, b"")

    def _forget_what_was_heard(self) -> None:
        for connection in self._opened:
            connection.end(self)
        if self._connection is not None:
            self._connection.end(self)
        self._opened = []
        self._connection = None
        self._is_unfit = False
        self._broken_off: BrokenOff | None = None
        self._rounds = 0
        self._guard.clear()
        self._answer.clear()

    def result(self, code: int, message: str, broken_off: BrokenOff | None = None) -> Result:
        """What came of the request, once libcurl is done with it (``code`` and ``message`` are its own), or once we
        are, for the reason ``broken_off``."""
        assert self.request is not None
        answer = self._answer
        again = unanswered = False
        if code == pycurl.E_OK and broken_off is None and answer.status_code is not None:
            outcome, error = by_status(answer.status_code), None
        else:
            ending = self._ending(code, message, broken_off or self._broken_off)
            outcome, error = judge(ending)
            again = not self.request.own_connection and may_go_again(ending)
            unanswered = not answer.has_begun and self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        return Result(
            self.request.key,
            outcome,
            answer.status_code,
            self._remote_address() if outcome != Outcome.BLOCKED_ADDRESS else None,
            answer.headers,
            bytes(answer.body),
            answer.header("retry-after"),
            self._seconds(ended_by_us=broken_off is not None),
            error,
            again,
            unanswered,
            self._phases(),
            self._broken_off == BrokenOff.WITHHELD,
        )

    def _ending(self, code: int, message: str, broken_off: BrokenOff | None) -> Ending:
        return Ending(
            code=code,
            message=message,
            broken_off=broken_off,
            answer=self._answer,
            refused=self._guard.refused,
            was_allowed=self._guard.allowed is not None,
            was_reused=self._is_reused,
            host=self.host_name,
        )

    def _seconds(self, *, ended_by_us: bool) -> float:
        """How long it took, with the look-up. libcurl's own figure is right once libcurl has ended the transfer."""
        if ended_by_us:
            return self._spent_seconds + time.monotonic() - self._began_at
        return float(self._spent_seconds + self.curl.getinfo(pycurl.TOTAL_TIME))

    def _phases(self) -> Phases:
        """Where the time went. libcurl's figures are counted from its own start, and 0 for what did not happen."""
        connected_at = ready_at = tls = None
        if self._opened:
            connected_at = self.curl.getinfo(pycurl.CONNECT_TIME) or None
            shaken_at = self.curl.getinfo(pycurl.APPCONNECT_TIME) if self._is_https else 0.0
            tls = shaken_at - connected_at if connected_at and shaken_at else None
            ready_at = shaken_at or connected_at
        answered_at = self.curl.getinfo(pycurl.STARTTRANSFER_TIME) if self._answer.has_begun else 0.0
        return Phases(
            self._host.seconds if self._host else None,
            connected_at,
            tls,
            max(answered_at - (ready_at or 0.0), 0.0) if answered_at else None,
            self._is_reused if self._connection is not None else None,
        )

    @property
    def _is_reused(self) -> bool:
        """Whether the request went over a connection that had been used before."""
        return self._connection is not None and not self._opened

    def _remote_address(self) -> str | None:
        return self.curl.getinfo(pycurl.PRIMARY_IP) or self._guard.allowed

    def _on_round(self, *_: int) -> int:
        """Called by libcurl each time it works on this transfer. 1: stop.

        Only here can be seen what never becomes a header or a body: the extensions of chunks, padding, frames of
        HTTP/2. libcurl would read them for as long as they come faster than it reads.
        """
        self._rounds += 1
        if self._rounds > ROUNDS_OF_AN_ANSWER:
            for connection in (self._connection,) if self._connection is not None else self._opened:
                if connection.is_flooded():
                    self._broken_off = BrokenOff.FLOODED
                    connection.shut_down()
                    return 1
        return 0

    def _on_look_up(self, *_: object) -> int:
        """Called by libcurl when it has no addresses. It may read those in a URL, but look nothing up (1: give up)."""
        return 0 if self._host is None else 1

    def _on_open_socket(self, _purpose: int, address: Any) -> Any:
        """Called by libcurl for each address that it is about to connect to."""
        if self._connection is not None:  # the request has been sent already
            self._broken_off = BrokenOff.REPEATED
            return pycurl.SOCKET_BAD
        return self._guard.open_socket(address)

    def _on_socket(self, descriptor: int, _purpose: int) -> int:
        """Called by libcurl with the descriptor that it has made of our socket."""
        self._opened.append(self._connections.opened(descriptor, self))
        return int(pycurl.SOCKOPT_OK)

    def _on_connected(self, remote_ip: str, local_ip: str, remote_port: int, local_port: int) -> int:
        """Called by libcurl when it has a connection, each time before it sends the request over it.

        The second time it is about to send what may have been received already. It does so without being asked when a
        connection that was used before is closed without an answer, and when a receiver refuses an HTTP/2 stream.
        """
        if self._connection is not None:
            self._broken_off = BrokenOff.REPEATED
            return int(pycurl.PREREQFUNC_ABORT)
        connection = self._connections.at((remote_ip, local_ip, remote_port, local_port), self._opened)
        if connection is None or not (self._opened or connection.is_fit()):
            self._is_unfit = True
            return int(pycurl.PREREQFUNC_ABORT)
        # Whoever stood still goes on here at the latest: between this and the first byte there is nothing to wait for.
        until = None if self.request is None else self.request.send_until
        if until is not None and standing_seconds() > until:
            self._broken_off = BrokenOff.WITHHELD
            return int(pycurl.PREREQFUNC_ABORT)
        connection.begin(self, self._is_https)
        self._connection = connection
        self._rounds = 0
        return int(pycurl.PREREQFUNC_OK)

    def _may_begin(self, line: bytes) -> bool:
        """Whether an answer that begins with this line can be the answer to the request."""
        if self._connection is not None:
            if self._connection.answered_early():
                self._broken_off = BrokenOff.EARLY
                return False
            if line.startswith(b"HTTP/1"):
                self._connection.found_http1()
        return True


_HTTP_ONLY = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
_HTTP_VERSION = pycurl.CURL_HTTP_VERSION_2TLS
_FIXED_OPTIONS = (
    (pycurl.POST, 1),
    (pycurl.NOSIGNAL, 1),  # no SIGALRM in a process that has signal handlers of its own
    (pycurl.PROTOCOLS, _HTTP_ONLY),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.REDIR_PROTOCOLS, 0),
    (pycurl.PROXY, ""),  # an empty text: not even the one that the environment names
    (pycurl.NOPROXY, "*"),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.HTTP_VERSION, _HTTP_VERSION),
    (pycurl.HTTP09_ALLOWED, 0),
    (pycurl.SSL_VERIFYPEER, 1),
    (pycurl.SSL_VERIFYHOST, 2),
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    (pycurl.USERAGENT, USER_AGENT),
    (pycurl.BUFFERSIZE, READ_BYTES),
    (pycurl.NOPROGRESS, 0),  # without it XFERINFOFUNCTION is not called
    (pycurl.DNS_CACHE_TIMEOUT, 0),
    (pycurl.MAXAGE_CONN, MAX_IDLE_SECONDS),
    (pycurl.MAXLIFETIME_CONN, MAX_CONNECTION_SECONDS),
)


def _head_lines(headers: Sequence[tuple[str, str]]) -> list[bytes]:
    """The request's own header lines for libcurl. Raises ValueError for what is not one header a pair."""
    # The colon alone takes a header away: libcurl would ask before it sends more than 1 MiB, and wait a second.
    lines = ["Expect:"]
    has_type = False
    for name, value in headers:
        lines.append(f"{name}: {value}" if value else f"{name};")
        has_type |= name.lower() == "content-type"
    if not has_type:
        lines.append(": ".join(CONTENT_TYPE))
    text = "\n".join(lines)
    if "\r" in text or "\0" in text or text.count("\n") != len(lines) - 1:
        raise ValueError("a header holds a line break or a NUL")
    return text.encode("latin-1").split(b"\n")


def _milliseconds(seconds: float) -> int:
    """A time limit for libcurl, for which 0 would be none."""
    return max(1, round(seconds * 1000))
