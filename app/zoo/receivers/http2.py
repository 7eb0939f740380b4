"""Receivers that speak HTTP/2 (over TLS) and misuse it."""

from __future__ import annotations

from app.core.webhook.retry import Outcome
from app.zoo.certificates import Handshake
from app.zoo.http2 import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    Code,
    FloodFrames,
    Frame,
    Kind,
    ReadHttp2Request,
    SendFrames,
    data,
    goaway,
    head,
    header,
    reset,
    setting,
    status,
)
from app.zoo.receiver import PROTOCOL_ERROR, SUCCESS, TIMEOUT, Expected, Group, Receiver, Step, http_error
from app.zoo.steps import Close, Drip, Send, Stall

OK = (head(200), data(b"ok", end=True))
DELIVERED = Expected(Outcome.SUCCESS, 200)
SHAKES_HANDS = Handshake(protocols=("h2",))
READS = ReadHttp2Request()
# A frame of DATA that is all padding: it carries nothing, and its bytes count.
PADDING = Frame(Kind.DATA, b"\xff" + bytes(255), PADDED)
# An entry of 4 KB for the sender's table of headers, then a reference to it (RFC 7541, 6.2.1 and 6.1).
BOMB_ENTRY = b"\x40\x01x\x7f\xa1\x1e" + b"a" * 4000
BOMB_REFERENCE = b"\xbe"
LARGEST_FRAME = 16_384


def _http2(name: str, summary: str, expected: tuple[Expected, ...], *steps: Step) -> Receiver:
    return Receiver(name, summary, (SHAKES_HANDS, *steps), expected, Group.HTTP2, scheme="https")


def _asked(name: str, summary: str, expected: tuple[Expected, ...], *steps: Step) -> Receiver:
    return _http2(name, summary, expected, READS, *steps)


HTTP2 = (
    _asked("h2-never-answers", "reads the request and says nothing", TIMEOUT, Stall()),
    _http2(
        "h2-no-window",
        "lets the sender send no body, and says nothing",
        TIMEOUT,
        ReadHttp2Request(window=0),
        Stall(),
    ),
    _http2("h2-no-streams", "allows no request at once", TIMEOUT, ReadHttp2Request(settings=setting(3, 0)), Stall()),
    _asked(
        "h2-refuses-streams",
        "refuses each request as one that it has not looked at: clients send it again",
        PROTOCOL_ERROR,
        *(step for _ in range(20) for step in (SendFrames((reset(Code.REFUSED_STREAM),)), READS)),
        Stall(),
    ),
    _asked(
        "h2-goaway",
        "reads the request, says that it has looked at none and closes: clients send it again",
        PROTOCOL_ERROR,
        SendFrames((goaway(0, Code.NO_ERROR),)),
        Close(),
    ),
    _asked(
        "h2-calm-down",
        "tells the sender to calm down and closes",
        PROTOCOL_ERROR,
        SendFrames((goaway(1, Code.ENHANCE_YOUR_CALM),)),
        Close(),
    ),
    _asked(
        "h2-wants-http-1",
        "resets the request and asks for HTTP/1.1: clients send it again",
        PROTOCOL_ERROR,
        SendFrames((reset(Code.HTTP_1_1_REQUIRED),)),
        Stall(),
    ),
    _asked("h2-resets", "resets the request", PROTOCOL_ERROR, SendFrames((reset(Code.INTERNAL_ERROR),)), Stall()),
    _asked("h2-closes", "reads the request and closes", PROTOCOL_ERROR, Close()),
    _asked(
        "h2-closes-on-second",
        "answers the first request of a connection, reads the second and closes",
        (DELIVERED, Expected(Outcome.PROTOCOL_ERROR), DELIVERED),
        SendFrames(OK),
        READS,
        Close(),
    ),
    _asked(
        "h2-leaves",
        "answers 200 and goes away in good order",
        (DELIVERED, DELIVERED),
        SendFrames((*OK, goaway(1, Code.NO_ERROR))),
        Close(),
    ),
    _asked(
        "h2-resets-after-head",
        "answers 503 and resets the request in the middle of the body",
        http_error(503),
        SendFrames((head(503), data(b"bus"), reset(Code.INTERNAL_ERROR))),
        Stall(),
    ),
    _asked(
        "h2-stalls-in-body", "stops in the middle of its body", SUCCESS, SendFrames((head(200), data(b"ha"))), Stall()
    ),
    _asked(
        "h2-length-too-long",
        "ends its body before the length that it gave",
        SUCCESS,
        SendFrames((head(200, (b"content-length", b"100")), data(b"half", end=True))),
        Stall(),
    ),
    _asked(
        "h2-padding-without-end",
        "sends a body of padding without end",
        SUCCESS,
        SendFrames((head(200),)),
        FloodFrames((PADDING,)),
    ),
    _asked(
        "h2-empty-frames-without-end",
        "sends empty pieces of a body without end",
        SUCCESS,
        SendFrames((head(200),)),
        FloodFrames((data(b""),)),
    ),
    _asked(
        "h2-body-without-end",
        "sends a body without end, whatever the sender's window",
        SUCCESS,
        SendFrames((head(200),)),
        FloodFrames((data(b"x" * 1024),)),
    ),
    _asked(
        "h2-windows-without-end",
        "answers 200, then opens its window byte by byte without end",
        SUCCESS,
        SendFrames((head(200),)),
        FloodFrames((Frame(Kind.WINDOW_UPDATE, (1).to_bytes(4), stream=0),)),
    ),
    _asked(
        "h2-pings-without-end",
        "answers 200, then sends pings without end and reads no reply",
        SUCCESS,
        SendFrames((head(200),)),
        FloodFrames((Frame(Kind.PING, bytes(8), stream=0),)),
    ),
    _asked(
        "h2-settings-without-end",
        "changes its settings without end in place of an answer",
        PROTOCOL_ERROR,
        FloodFrames((Frame(Kind.SETTINGS, setting(4, 65_535), stream=0),)),
    ),
    _asked(
        "h2-head-without-end",
        "sends a head without end, in pieces",
        PROTOCOL_ERROR,
        SendFrames((Frame(Kind.HEADERS, status(200)),)),
        FloodFrames((Frame(Kind.CONTINUATION, header(b"x-more", b"a")),)),
    ),
    _asked(
        "h2-empty-head-without-end",
        "sends empty pieces of a head without end",
        PROTOCOL_ERROR,
        SendFrames((Frame(Kind.HEADERS, status(200)),)),
        FloodFrames((Frame(Kind.CONTINUATION),)),
    ),
    _asked(
        "h2-header-bomb",
        "sends a head of 16 KiB that unpacks into 48 MB",
        PROTOCOL_ERROR,
        SendFrames(
            (Frame(Kind.HEADERS, status(200) + BOMB_ENTRY + BOMB_REFERENCE * 12_000, END_HEADERS | END_STREAM),)
        ),
        Stall(),
    ),
    _asked(
        "h2-interim-without-end",
        "sends 103 Early Hints without end",
        PROTOCOL_ERROR,
        FloodFrames((head(103, (b"link", b"</a.css>")),)),
    ),
    _asked(
        "h2-pushes",
        "pushes what nobody asked for",
        PROTOCOL_ERROR,
        SendFrames((Frame(Kind.PUSH_PROMISE, (2).to_bytes(4) + status(200), END_HEADERS),)),
        Stall(),
    ),
    _asked(
        "h2-frame-too-large",
        "sends a frame that is larger than the sender allows",
        PROTOCOL_ERROR,
        SendFrames((Frame(Kind.HEADERS, bytes(LARGEST_FRAME + 1), END_HEADERS),)),
        Stall(),
    ),
    _asked(
        "h2-bad-header-block",
        "sends a head that cannot be unpacked",
        PROTOCOL_ERROR,
        SendFrames((Frame(Kind.HEADERS, b"\xff\xff\xff\xff\xff\xff", END_HEADERS),)),
        Stall(),
    ),
    _asked(
        "h2-no-status",
        "sends a head without a status",
        PROTOCOL_ERROR,
        SendFrames((Frame(Kind.HEADERS, header(b"x-status", b"200"), END_HEADERS | END_STREAM),)),
        Stall(),
    ),
    _asked(
        "h2-drips-frame",
        "sends a frame one byte a second",
        TIMEOUT,
        Drip(head(200, end=True).encode(1)),
    ),
    _asked("h2-garbage", "sends what is no HTTP/2 frame", PROTOCOL_ERROR, Send(b"HTTP/1.1 200 OK\r\n\r\n"), Stall()),
)
