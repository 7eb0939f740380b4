"""Receivers that misuse the connection itself."""

from __future__ import annotations

from app.core.webhook.retry import Outcome
from app.zoo.answers import OK
from app.zoo.receiver import (
    CONNECT_ERROR,
    PROTOCOL_ERROR,
    SUCCESS,
    TIMEOUT,
    Expected,
    Group,
    Listening,
    Receiver,
    Step,
    http_error,
)
from app.zoo.steps import (
    Close,
    CloseAtOnce,
    ClosePort,
    ReadHead,
    ReadRequest,
    ReadSlowly,
    Reset,
    Send,
    SendUrgent,
    ShrinkWindow,
    Stall,
    WaitForRequest,
    answer_each,
)

# What the kernels on both sides take by themselves (some 2.5 MiB on Linux's loopback) must not hide a receiver that
# does not read.
LARGE = 4 * 2**20
SMALL_BUFFER = 4096


def _connection(
    name: str,
    summary: str,
    expected: tuple[Expected, ...],
    *steps: Step,
    listening: Listening = Listening.ACCEPTS,
    body_bytes: int = 2,
    receive_buffer: int | None = None,
) -> Receiver:
    return Receiver(
        name,
        summary,
        steps,
        expected,
        Group.CONNECTION,
        listening=listening,
        body_bytes=body_bytes,
        receive_buffer=receive_buffer,
    )


CONNECTIONS = (
    _connection(
        "refuses", "refuses connections: nobody listens on its port", CONNECT_ERROR, listening=Listening.REFUSES
    ),
    _connection("full-queue", "never accepts: its queue of connections is full", TIMEOUT, listening=Listening.FULL),
    _connection("closes-at-once", "accepts and closes, before it has read anything", PROTOCOL_ERROR, CloseAtOnce()),
    _connection("resets", "resets the connection when the request comes", PROTOCOL_ERROR, WaitForRequest(), Reset()),
    _connection(
        "closes-unanswered", "reads the request and closes without a word", PROTOCOL_ERROR, ReadRequest(), Close()
    ),
    _connection(
        "resets-unanswered", "reads the request and resets the connection", PROTOCOL_ERROR, ReadRequest(), Reset()
    ),
    _connection("never-answers", "reads the request and says nothing", TIMEOUT, ReadRequest(), Stall()),
    _connection(
        "never-reads",
        "accepts the connection and never reads: its window closes",
        TIMEOUT,
        Stall(),
        body_bytes=LARGE,
        receive_buffer=SMALL_BUFFER,
    ),
    _connection(
        "reads-slowly",
        "reads one byte a second",
        TIMEOUT,
        ReadSlowly(1, 1.0),
        body_bytes=LARGE,
        receive_buffer=SMALL_BUFFER,
    ),
    _connection(
        "shrinks-window",
        "reads the request's head, shrinks its window and reads on by a few bytes",
        TIMEOUT,
        ReadHead(),
        ShrinkWindow(1),
        ReadSlowly(16, 0.2),
        body_bytes=LARGE,
        receive_buffer=SMALL_BUFFER,
    ),
    _connection(
        "answers-early",
        "answers 200 to the request's head, never reads the body and keeps the connection open",
        SUCCESS,
        ReadHead(),
        Send(OK),
        Stall(),
        body_bytes=LARGE,
        receive_buffer=SMALL_BUFFER,
    ),
    _connection(
        "refuses-body",
        "answers 413 to the request's head and reads the body while it closes",
        http_error(413),
        ReadHead(),
        Send(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        Close(),
        body_bytes=LARGE,
    ),
    _connection(
        "urgent-byte",
        "sends a byte as TCP's urgent data in the middle of the head",
        SUCCESS,
        *answer_each(
            Send(b"HTTP/1.1 200 OK\r\nX-Urgent: "),
            SendUrgent(b"!"),
            Send(b"\r\nContent-Length: 2\r\n\r\nok"),
        ),
    ),
    _connection(
        "closes-port",
        "answers, and refuses connections from then on for five seconds",
        (Expected(Outcome.SUCCESS, 200), Expected(Outcome.CONNECT_ERROR)),
        ReadRequest(),
        ClosePort(5.0),
        Send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        Close(),
    ),
)
