"""Receivers as they should be, to stand beside the others: they must not be disturbed."""

from __future__ import annotations

from app.zoo.answers import OK
from app.zoo.certificates import Handshake
from app.zoo.http2 import ReadHttp2Request, SendFrames, data, head
from app.zoo.receiver import SUCCESS, Group, Receiver, Step
from app.zoo.steps import KeepOn, Send, answer_each


def _healthy(name: str, summary: str, scheme: str, *steps: Step) -> Receiver:
    return Receiver(name, summary, steps, SUCCESS, Group.HEALTHY, scheme=scheme)


HEALTHY = (
    _healthy("healthy", "answers 200 and keeps the connection", "http", *answer_each(Send(OK))),
    _healthy(
        "healthy-tls",
        "answers 200 over TLS and keeps the connection",
        "https",
        Handshake(),
        *answer_each(Send(OK)),
    ),
    _healthy(
        "healthy-http2",
        "answers 200 over HTTP/2 and keeps the connection",
        "https",
        Handshake(protocols=("h2",)),
        KeepOn((ReadHttp2Request(), SendFrames((head(200), data(b"ok", end=True))))),
    ),
)
