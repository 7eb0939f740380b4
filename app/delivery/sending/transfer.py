"""One POST of a webhook: an easy handle of libcurl, what it may do, and what it heard."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pycurl

from app.core.webhook.addresses import Network, why_blocked
from app.core.webhook.retry import Outcome

USER_AGENT = "Twofold/1.0 (webhooks)"

# What an answer may cost us. Real ones are tiny: what is kept is for a person who reads the delivery log, and the rest
# up to the cut is read only so that the connection can be used again.
MAX_HEAD_BYTES = 64 * 1024
KEPT_BODY_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024

# An idle connection is not used after this: load balancers close theirs after 60 s, and a POST that meets the closing
# has to be sent again.
MAX_IDLE_SECONDS = 50
# No connection lives longer than this: a receiver that moves to another address is followed.
MAX_CONNECTION_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Request:
    """One POST. ``key`` comes back with the result; ``headers`` are added to ours, and win over them. ``owner``: whose
    names are looked up together, so that they keep only each other waiting."""

    key: object
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    owner: str = ""


@dataclass(frozen=True, slots=True)
class ResolvedHost:
    """What was looked up for a request: name, port and the addresses to try, and how long that took."""

    name: str
    port: int
    addresses: Sequence[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request.

    A complete head of an answer decides, whatever follows it: ``status_code`` is set exactly when ``outcome`` is
    ``success`` or ``http_error``. ``response_body`` are the first 16 KiB. ``error`` says in words what went wrong.
    ``unanswered``: the request was sent, at least in part, and nothing came back: the receiver may have it.
    """

    key: object
    outcome: Outcome
    status_code: int | None
    remote_address: str | None
    response_headers: list[tuple[str, str]]
    response_body: bytes
    retry_after: str | None
    duration_seconds: float
    error: str | None
    unanswered: bool = False


class Transfer:
    """One easy handle, used for one request after another, and what it has heard of the present one.

    The options that differ between requests (URL, headers, body, addresses, time) are set anew for each; nothing else
    is ever set.
    """

    def __init__(self, allow: Sequence[Network], total_seconds: float, connect_seconds: float) -> None:
        self._allow, self._total_seconds, self._connect_seconds = allow, total_seconds, connect_seconds
        self._found: ResolvedHost | None = None
        self._entries: list[str] = []
        self._spent_seconds = -1.0
        self._request: Request | None = None
        self.curl = pycurl.Curl()
        for option, value in _FIXED_OPTIONS:
            self.curl.setopt(option, value)
        # libcurl keeps addresses for all handles together: those of this one are to serve its own request and no other.
        self._addresses = pycurl.CurlShare()
        self._addresses.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_DNS)
        self.curl.setopt(pycurl.SHARE, self._addresses)
        self.curl.setopt(pycurl.RESOLVER_START_FUNCTION, self._on_look_up)
        self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._on_head_line)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._on_body)
        self.forget()

    def prepare(self, request: Request, found: ResolvedHost | None, *, wait_for_connection: bool = False) -> None:
        """Set the handle up. ``found``: None when the URL names no host that must be looked up.
        ``wait_for_connection``: if one to the receiver is being opened, rather than open another.

        Raises ValueError, TypeError or pycurl.error for what cannot stand in a request.
        """
        self._request = request
        self.curl.setopt(pycurl.URL, request.url)
        self.curl.setopt(pycurl.PIPEWAIT, wait_for_connection)
        self.curl.setopt(pycurl.HTTPHEADER, _head_lines(request.headers))
        self.curl.setopt(pycurl.POSTFIELDS, request.body)
        self._give(found)

    def _give(self, found: ResolvedHost | None) -> None:
        """Have libcurl try these addresses, in the time that is left, and know nothing of the last request's."""
        before, self._found = self._found, found
        entries = [f"-{before.name}:{before.port}"] if before else []
        if found:
            addresses = ",".join(f"[{ip}]" if ":" in ip else ip for ip in found.addresses)
            entries.append(f"{found.name}:{found.port}:{addresses}")
        if entries or self._entries:
            self.curl.setopt(pycurl.RESOLVE, entries)
            self._entries = entries
        spent = found.seconds if found else 0.0
        if spent != self._spent_seconds:
            self._spent_seconds = spent
            self.curl.setopt(pycurl.TIMEOUT_MS, _milliseconds(self._total_seconds - spent))
            self.curl.setopt(pycurl.CONNECTTIMEOUT_MS, _milliseconds(self._connect_seconds - spent))

    @property
    def url(self) -> str:
        """Of the present request."""
        return self._request.url if self._request else ""

    def forget(self) -> None:
        """Drop all that belongs to one request; the handle itself lets go of the body, which may be large."""
        self._request = None
        self._lines: list[bytes] = []
        self._head_bytes = 0
        self._body = bytearray()
        self._body_bytes = 0
        self._opened: str | None = None
        self._refused: list[str] = []
        self.curl.setopt(pycurl.POSTFIELDS, b"")

    def result(self, code: int, message: str) -> Result:
        """What came of the request, once libcurl is done with it (``code`` and ``message`` are its own)."""
        assert self._request is not None
        status_code, headers = _read_head(self._lines)
        outcome, error = self._judge(status_code, code, message)
        return Result(
            self._request.key,
            outcome,
            status_code,
            self.curl.getinfo(pycurl.PRIMARY_IP) or self._opened,
            headers,
            bytes(self._body),
            next((value for name, value in headers if name.lower() == "retry-after"), None),
            self.curl.getinfo(pycurl.TOTAL_TIME) + (self._found.seconds if self._found else 0.0),
            error,
            unanswered=not self._lines and self.curl.getinfo(pycurl.REQUEST_SIZE) > 0,
        )

    def _judge(self, status_code: int | None, code: int, message: str) -> tuple[Outcome, str | None]:
        if status_code is not None:
            cut = self._body_bytes > MAX_BODY_BYTES
            late = f"the body of the answer was not complete: {message}" if code != pycurl.E_OK and not cut else None
            return (Outcome.SUCCESS if 200 <= status_code < 300 else Outcome.HTTP_ERROR), late
        if self._refused and self._opened is None:
            return Outcome.BLOCKED_ADDRESS, "; ".join(self._refused)
        if self._head_bytes > MAX_HEAD_BYTES:
            return Outcome.PROTOCOL_ERROR, f"the head of the answer is larger than {MAX_HEAD_BYTES // 1024} KiB"
        if code == pycurl.E_OK:
            return Outcome.PROTOCOL_ERROR, "the connection was closed inside the head of the answer"
        # TLS 1.3: a server that refuses the client says so only after the handshake has ended for the client.
        if code in _CUT_SHORT and "alert" in message:
            return Outcome.TLS_ERROR, message
        return _OUTCOMES.get(code, Outcome.PROTOCOL_ERROR), message or pycurl.easy_strerror(code)

    def _on_look_up(self, *_: object) -> int:
        """Called by libcurl when it has no addresses. It may read those in a URL, but look nothing up (1: give up)."""
        return 0 if self._found is None else 1

    def _open_socket(self, _purpose: int, address: Any) -> Any:
        """The guard: called by libcurl for each address it is about to connect to."""
        ip = str(address.addr[0])
        reason = why_blocked(ip, self._allow) if address.family in _FAMILIES else "not an internet address"
        if reason is not None:
            self._refused.append(f"{ip} is {reason}")
            return pycurl.SOCKET_BAD
        self._opened = ip
        try:
            return _LentSocket(address.family, address.socktype, address.protocol)
        except OSError:  # too many open files, or no IPv6 here: libcurl tries the next address or reports the failure
            return pycurl.SOCKET_BAD

    def _on_head_line(self, line: bytes) -> int | None:
        self._lines.append(line)
        self._head_bytes += len(line)
        return -1 if self._head_bytes > MAX_HEAD_BYTES else None  # -1 aborts

    def _on_body(self, chunk: bytes) -> int | None:
        self._body_bytes += len(chunk)
        if len(self._body) < KEPT_BODY_BYTES:
            self._body += chunk[: KEPT_BODY_BYTES - len(self._body)]
        return -1 if self._body_bytes > MAX_BODY_BYTES else None


class _LentSocket(socket.socket):
    """pycurl duplicates the descriptor that it is given and lets go of the object: this one is closed with it."""

    def __del__(self) -> None:
        descriptor = self.detach()
        if descriptor >= 0:  # else it could not be opened at all
            os.close(descriptor)


_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_HTTP_ONLY = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
_FIXED_OPTIONS = (
    (pycurl.POST, 1),
    (pycurl.NOSIGNAL, 1),  # no SIGALRM in a process that has signal handlers of its own
    (pycurl.PROTOCOLS, _HTTP_ONLY),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.REDIR_PROTOCOLS, 0),
    (pycurl.PROXY, ""),  # an empty text: not even the one that the environment names
    (pycurl.NOPROXY, "*"),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
    (pycurl.HTTP09_ALLOWED, 0),
    (pycurl.SSL_VERIFYPEER, 1),
    (pycurl.SSL_VERIFYHOST, 2),
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    (pycurl.USERAGENT, USER_AGENT),
    (pycurl.DNS_CACHE_TIMEOUT, 0),
    (pycurl.MAXAGE_CONN, MAX_IDLE_SECONDS),
    (pycurl.MAXLIFETIME_CONN, MAX_CONNECTION_SECONDS),
)

# Every libcurl failure before a complete head that is not listed here is a protocol_error.
_OUTCOMES = {
    pycurl.E_OPERATION_TIMEDOUT: Outcome.TIMEOUT,
    pycurl.E_COULDNT_RESOLVE_HOST: Outcome.DNS_ERROR,
    pycurl.E_COULDNT_CONNECT: Outcome.CONNECT_ERROR,
    pycurl.E_INTERFACE_FAILED: Outcome.CONNECT_ERROR,
    pycurl.E_NO_CONNECTION_AVAILABLE: Outcome.CONNECT_ERROR,
    pycurl.E_SSL_CONNECT_ERROR: Outcome.TLS_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION: Outcome.TLS_ERROR,
    pycurl.E_SSL_CIPHER: Outcome.TLS_ERROR,
    pycurl.E_SSL_CERTPROBLEM: Outcome.TLS_ERROR,
    pycurl.E_SSL_CACERT_BADFILE: Outcome.TLS_ERROR,
    pycurl.E_SSL_ISSUER_ERROR: Outcome.TLS_ERROR,
    pycurl.E_SSL_INVALIDCERTSTATUS: Outcome.TLS_ERROR,
    pycurl.E_SSL_ENGINE_INITFAILED: Outcome.TLS_ERROR,
}
_CUT_SHORT = (pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_GOT_NOTHING)

_LINE_BREAKERS = re.compile(r"[\r\n\0]")


def _head_lines(headers: Sequence[tuple[str, str]]) -> list[bytes]:
    """The request's own header lines for libcurl. Raises ValueError for what is not one header a pair."""
    # The colon alone takes a header away: libcurl would ask before it sends more than 1 MiB, and wait a second.
    lines = ["Expect:"]
    for name, value in headers:
        lines.append(f"{name}: {value}" if value else f"{name};")
    if "content-type" not in {name.lower() for name, _ in headers}:
        lines.append("Content-Type: application/json")
    if _LINE_BREAKERS.search("".join(lines)):
        raise ValueError("a header holds a line break or a NUL")
    return [line.encode("latin-1") for line in lines]


def _milliseconds(seconds: float) -> int:
    """A time limit for libcurl, for which 0 would be none."""
    return max(1, round(seconds * 1000))


_STATUS_LINE = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})\b")


def _read_head(lines: Sequence[bytes]) -> tuple[int | None, list[tuple[str, str]]]:
    """The status code and the headers of the answer, out of the lines of interim answers (1xx), its head, and perhaps
    trailers. (None, []) when the head did not come to its end."""
    status_code = 0  # between heads
    headers: list[tuple[str, str]] = []
    for line in lines:
        if not status_code:
            match = _STATUS_LINE.match(line)
            if not match:
                break
            status_code, headers = int(match[1]), []
        elif line.strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        elif status_code >= 200:
            return status_code, headers
        else:
            status_code = 0
    return None, []


def unsent(request: Request, outcome: Outcome, error: str, seconds: float = 0.0) -> Result:
    """The result of a request that was not put to libcurl."""
    return Result(request.key, outcome, None, None, [], b"", None, seconds, error)
