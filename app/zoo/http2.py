"""As much of HTTP/2 (RFC 9113) as a hostile receiver needs: frames are written as they are, and hardly read."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from app.zoo.wire import Gone, Wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
# What a request may send before it has to wait for us: more than any webhook's body.
REQUEST_WINDOW = 2**24


class Kind(IntEnum):
    """Frame types."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Code(IntEnum):
    """Error codes."""

    NO_ERROR = 0
    INTERNAL_ERROR = 2
    REFUSED_STREAM = 7
    ENHANCE_YOUR_CALM = 11
    HTTP_1_1_REQUIRED = 13


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `stream`: None for that of the request read last; 0 is the connection."""

    kind: Kind
    payload: bytes = b""
    flags: int = 0
    stream: int | None = None

    def encode(self, request_stream: int) -> bytes:
        """Its bytes, in answer to the request of that stream."""
        stream = request_stream if self.stream is None else self.stream
        return len(self.payload).to_bytes(3) + bytes([self.kind, self.flags]) + stream.to_bytes(4) + self.payload

    def __str__(self) -> str:
        return f"{self.kind.name} ({len(self.payload):,} B)"


def header(name: bytes, value: bytes) -> bytes:
    """A header for a HEADERS frame as it is (RFC 7541, 6.2.3: never indexed, no Huffman code); up to 126 bytes each."""
    return b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value


def status(code: int) -> bytes:
    """The header block that begins an answer."""
    return header(b":status", b"%d" % code)


def head(code: int, *headers: tuple[bytes, bytes], end: bool = False) -> Frame:
    """The head of an answer in one frame; `end`: there is no body."""
    block = status(code) + b"".join(header(*pair) for pair in headers)
    return Frame(Kind.HEADERS, block, END_HEADERS | (END_STREAM if end else 0))


def data(body: bytes, *, end: bool = False) -> Frame:
    """A piece of a body."""
    return Frame(Kind.DATA, body, END_STREAM if end else 0)


def setting(number: int, value: int) -> bytes:
    """One setting for a SETTINGS frame."""
    return struct.pack("!HI", number, value)


def reset(code: Code) -> Frame:
    """RST_STREAM for the request."""
    return Frame(Kind.RST_STREAM, code.to_bytes(4))


def goaway(last_stream: int, code: Code) -> Frame:
    """GOAWAY: requests of streams above `last_stream` were not looked at."""
    return Frame(Kind.GOAWAY, struct.pack("!II", last_stream, code), stream=0)


@dataclass(frozen=True, slots=True)
class ReadHttp2Request:
    """Read the next request whole and count it, acknowledging settings; before the first one say our own settings.

    `window`: how many bytes of body all requests together may send."""

    settings: bytes = b""
    window: int = REQUEST_WINDOW

    def act(self, wire: Wire) -> None:
        if not wire.http2_stream:
            self._open(wire)
        while True:
            kind, flags, stream, payload = _read_frame(wire)
            if kind == Kind.SETTINGS and not flags & ACK:
                wire.send(Frame(Kind.SETTINGS, flags=ACK, stream=0).encode(0))
            elif kind == Kind.PING and not flags & ACK:
                wire.send(Frame(Kind.PING, payload, ACK, 0).encode(0))
            elif kind == Kind.GOAWAY:
                raise Gone
            elif kind == Kind.HEADERS:
                wire.http2_stream = stream
                wire.count_request()
                if not self.window:
                    return
            if kind in (Kind.HEADERS, Kind.DATA) and flags & END_STREAM and stream == wire.http2_stream:
                return

    def _open(self, wire: Wire) -> None:
        wire.send(Frame(Kind.SETTINGS, setting(4, self.window) + self.settings, stream=0).encode(0))
        if self.window:
            wire.send(Frame(Kind.WINDOW_UPDATE, self.window.to_bytes(4), stream=0).encode(0))
        if wire.read_exactly(len(PREFACE)) != PREFACE:
            raise Gone

    def __str__(self) -> str:
        return "reads an HTTP/2 request" if self.window else "reads the head of an HTTP/2 request with a window of 0 B"


def _read_frame(wire: Wire) -> tuple[int, int, int, bytes]:
    """Type, flags, stream and payload of the next frame."""
    top = wire.read_exactly(9)
    length = int.from_bytes(top[:3])
    return top[3], top[4], int.from_bytes(top[5:]) & 0x7FFFFFFF, wire.read_exactly(length)


@dataclass(frozen=True, slots=True)
class SendFrames:
    """Send these frames."""

    frames: Sequence[Frame]

    def act(self, wire: Wire) -> None:
        wire.send(b"".join(frame.encode(wire.http2_stream) for frame in self.frames))

    def __str__(self) -> str:
        return "sends " + " and ".join(map(str, self.frames))


@dataclass(frozen=True, slots=True)
class FloodFrames:
    """Send these frames without end, as fast as the sender takes them."""

    frames: Sequence[Frame]

    def act(self, wire: Wire) -> None:
        once = b"".join(frame.encode(wire.http2_stream) for frame in self.frames)
        many = once * max(1, 8192 // len(once))
        while True:
            wire.send(many)

    def __str__(self) -> str:
        return "sends " + " and ".join(map(str, self.frames)) + " without end"
