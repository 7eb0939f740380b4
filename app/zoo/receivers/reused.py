"""Receivers that do harm on a connection that is used again: several POSTs, one after the other."""

from __future__ import annotations

from app.core.webhook.retry import Outcome
from app.zoo.answers import BUSY, OK
from app.zoo.receiver import Expected, Group, Receiver, Step
from app.zoo.steps import Close, ReadRequest, Reset, Send, Stall, Wait, answer_each

REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
DELIVERED, REFUSED = Expected(Outcome.SUCCESS, 200), Expected(Outcome.HTTP_ERROR, 503)
BROKEN, SILENT = Expected(Outcome.PROTOCOL_ERROR), Expected(Outcome.TIMEOUT)
# Between two POSTs, so that what comes late has come.
PAUSE_SECONDS = 0.2


def _reused(
    name: str, summary: str, expected: tuple[Expected, ...], *steps: Step, pause_seconds: float = 0.0
) -> Receiver:
    return Receiver(name, summary, steps, expected, Group.REUSED, pause_seconds=pause_seconds)


REUSED = (
    _reused(
        "stray-answer",
        "answers 503, and sends a 200 that nobody asked for in the same packet",
        (REFUSED, REFUSED, REFUSED),
        *answer_each(Send(BUSY + OK)),
    ),
    _reused(
        "stray-answer-late",
        "answers 503, and sends a 200 that nobody asked for a little later",
        (REFUSED, REFUSED, REFUSED),
        *answer_each(Send(BUSY), Wait(0.05), Send(OK)),
        pause_seconds=PAUSE_SECONDS,
    ),
    _reused(
        "stray-bytes",
        "answers 200, and sends a line end that belongs to nothing",
        (DELIVERED, DELIVERED),
        *answer_each(Send(OK + b"\r\n")),
        pause_seconds=PAUSE_SECONDS,
    ),
    _reused(
        "stray-timeout",
        "answers 200, then says 408 on the idle connection and closes",
        (DELIVERED, DELIVERED),
        ReadRequest(),
        Send(OK),
        Wait(0.05),
        Send(REQUEST_TIMEOUT),
        Close(),
        pause_seconds=PAUSE_SECONDS,
    ),
    _reused(
        "closes-idle",
        "answers 200 and closes, although it did not say so",
        (DELIVERED, DELIVERED),
        ReadRequest(),
        Send(OK),
        Close(),
        pause_seconds=PAUSE_SECONDS,
    ),
    _reused(
        "resets-idle",
        "answers 200 and resets the idle connection",
        (DELIVERED, DELIVERED),
        ReadRequest(),
        Send(OK),
        Wait(0.05),
        Reset(),
        pause_seconds=PAUSE_SECONDS,
    ),
    _reused(
        "closes-on-second",
        "answers the first request of a connection, reads the second and closes",
        (DELIVERED, BROKEN, DELIVERED),
        ReadRequest(),
        Send(OK),
        ReadRequest(),
        Close(),
    ),
    _reused(
        "resets-on-second",
        "answers the first request of a connection, reads the second and resets",
        (DELIVERED, BROKEN, DELIVERED),
        ReadRequest(),
        Send(OK),
        ReadRequest(),
        Reset(),
    ),
    _reused(
        "cuts-second",
        "answers the first request of a connection, and the second by half a head",
        (DELIVERED, BROKEN, DELIVERED),
        ReadRequest(),
        Send(OK),
        ReadRequest(),
        Send(OK[:20]),
        Close(),
    ),
    _reused(
        "silent-on-second",
        "answers the first request of a connection and never the second",
        (DELIVERED, SILENT, DELIVERED),
        ReadRequest(),
        Send(OK),
        ReadRequest(),
        Stall(),
    ),
)
