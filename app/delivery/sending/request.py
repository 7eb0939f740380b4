"""What goes into the Sender and what comes out of it. Tuples: a frozen dataclass costs five times as much to make."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from app.core.webhook.retry import Outcome


class Request(NamedTuple):
    """One POST. ``key`` comes back with the result; ``headers`` are added to ours, and win over them. ``owner``: whose
    names are looked up together, so that they keep only each other waiting. ``own_connection``: send it over a new
    connection that no other request uses; for a request whose last result said ``again``. ``total_seconds``: its own
    limit, if that is less than the sender's. ``send_until``: the time of ``standing_seconds`` after which it must not
    be sent any more.
    """

    key: object
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    owner: str = ""
    own_connection: bool = False
    total_seconds: float | None = None
    send_until: float | None = None


class Phases(NamedTuple):
    """How long the parts of an exchange took, seconds; None for one that it had no need of or did not come to.

    ``dns``: the look-up of the name. ``connect``: the TCP connection. ``tls``: the handshake. ``first_byte``: from then
    until the answer began. ``reused``: whether the connection was one that had been used before; None without one.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None
    reused: bool | None = None


NO_PHASES = Phases()
"""Of a request that was not sent."""


class Result(NamedTuple):
    """What came of a request, which was sent once at most.

    A complete head of an answer decides, whatever follows it: ``status_code`` is set exactly when ``outcome`` is
    ``success`` or ``http_error``. ``response_body`` is the first 16 KiB. ``error`` says in words what went wrong.
    ``again``: the connection may be to blame, because it had been used before. Another attempt over a connection of its
    own need not wait for the schedule. It never ends with ``again`` itself. ``unanswered``: the request was sent, at
    least in part, and nothing came back: the receiver may have it. ``phases``: where the time went. ``withheld``: its
    time was over before it was sent, so that it was not.
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
    again: bool = False
    unanswered: bool = False
    phases: Phases = NO_PHASES
    withheld: bool = False


def standing_seconds() -> float:
    """A clock that goes on while this process stands still, and while its machine sleeps."""
    return time.clock_gettime(_STANDING_CLOCK)


# Only Linux has one that counts the machine's sleep.
_STANDING_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def unsent(request: Request, outcome: Outcome, error: str, look_up_seconds: float | None = None) -> Result:
    """The result of a request that was not put to libcurl. look_up_seconds: how long its name was looked up."""
    phases = Phases(dns=look_up_seconds)
    return Result(request.key, outcome, None, None, [], b"", None, look_up_seconds or 0.0, error, phases=phases)
