"""What the end of a transfer means: libcurl's code, our own limits and the answer become an outcome and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pycurl

from app.core.webhook.retry import Outcome
from app.delivery.sending.answer import MAX_HEAD_BYTES, Answer
from app.delivery.sending.connections import MAX_RECEIVED_BYTES

# How long the body may take once the head is complete. It decides nothing any more.
BODY_SECONDS = 2.0


class BrokenOff(StrEnum):
    """Why we ended a transfer ourselves, in words."""

    REPEATED = "the connection was closed before an answer came"
    EARLY = "an answer was there before the request was sent, so it is not the answer to this request"
    FLOODED = f"more than {MAX_RECEIVED_BYTES // 1024} KiB were received"
    WITHHELD = "this worker stood still, and the time for the request was over before it was sent"
    LATE = f"it took more than {BODY_SECONDS:g} seconds"


@dataclass(slots=True)
class Ending:
    """All that the verdict depends on."""

    code: int
    """libcurl's, like its message."""
    message: str
    broken_off: BrokenOff | None
    answer: Answer
    refused: Sequence[tuple[str, str]]
    """The addresses that the guard did not allow, with the reasons."""
    was_allowed: bool
    """Whether it allowed another one."""
    was_reused: bool
    """Whether the request went over a connection that had been used before."""
    host: str | None
    """The name that was looked up; None when the URL itself holds the address."""


def judge(ending: Ending) -> tuple[Outcome, str | None]:
    """The outcome, and in words what went wrong."""
    status_code = ending.answer.status_code
    if status_code is not None:
        return by_status(status_code), _why_not_complete(ending)
    if ending.broken_off is not None:
        before_the_head = (
            " before the head of the answer was complete" if ending.broken_off == BrokenOff.FLOODED else ""
        )
        return Outcome.PROTOCOL_ERROR, f"{ending.broken_off}{before_the_head}"
    if ending.refused and not ending.was_allowed:
        return Outcome.BLOCKED_ADDRESS, _why_blocked(ending)
    if ending.answer.head_is_too_large:
        return Outcome.PROTOCOL_ERROR, f"the head of the answer is larger than {MAX_HEAD_BYTES // 1024} KiB"
    if _is_not_http(ending):
        return Outcome.PROTOCOL_ERROR, _why_not_http(ending)
    if ending.code == pycurl.E_OK:
        return Outcome.PROTOCOL_ERROR, "the connection was closed inside the head of the answer"
    # TLS 1.3: a server that refuses the client says so only after the handshake has ended for the client.
    if ending.code in _CUT_SHORT and "alert" in ending.message:
        return Outcome.TLS_ERROR, ending.message
    outcome = _OUTCOMES.get(ending.code, Outcome.PROTOCOL_ERROR)
    return outcome, ending.message or pycurl.easy_strerror(ending.code)


def by_status(status_code: int) -> Outcome:
    """What the status of an answer means."""
    return Outcome.SUCCESS if 200 <= status_code < 300 else Outcome.HTTP_ERROR


def may_go_again(ending: Ending) -> bool:
    """Whether the connection may be to blame, because it had been used before: then an attempt over a connection of its
    own need not wait. What does not begin as an answer does may be the rest of an earlier one."""
    if ending.answer.status_code is not None:
        return False
    return ending.broken_off in (BrokenOff.REPEATED, BrokenOff.EARLY) or (ending.was_reused and _is_not_http(ending))


def _is_not_http(ending: Ending) -> bool:
    """Whether what came does not begin as an answer does."""
    if ending.code == pycurl.E_FTP_WEIRD_SERVER_REPLY and not ending.answer.has_begun:
        return True
    return ending.code == pycurl.E_UNSUPPORTED_PROTOCOL or not ending.answer.is_http


def _why_not_complete(ending: Ending) -> str | None:
    """Why the body broke off. That we cut it at its largest size is no fault."""
    if ending.answer.body_is_cut or (ending.code == pycurl.E_OK and ending.broken_off is None):
        return None
    if ending.answer.head_is_too_large:
        return f"the head and the trailers of the answer are larger than {MAX_HEAD_BYTES // 1024} KiB"
    return f"the body of the answer was not complete: {ending.broken_off or ending.message}"


def _why_blocked(ending: Ending) -> str:
    """The owner of a host name is told what kind of address it leads to, and never which: behind an internal name that
    is for them to ask, and ours not to tell. An address that stands in the URL is no secret."""
    if ending.host is None:
        return "; ".join(f"{ip} is {reason}" for ip, reason in ending.refused)
    reasons = dict.fromkeys(reason for _, reason in ending.refused)
    return f"{ending.host} resolves to an address that is {' or '.join(reasons)}"


def _why_not_http(ending: Ending) -> str:
    if not ending.message or any(words in ending.message for words in _NO_STATUS_LINE):
        return "the answer is not HTTP: it does not begin with a status line"
    return f"the answer is not HTTP: {ending.message}"


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
# libcurl's words for it, on a new connection (where it might be HTTP/0.9) and on one that was used before.
_NO_STATUS_LINE = ("HTTP/0.9", "Invalid status line")
_CUT_SHORT = (pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_GOT_NOTHING)
