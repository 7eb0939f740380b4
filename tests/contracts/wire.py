"""HTTP/1.1 and WebSocket from the client's side of a plain socket, byte by byte; nothing of the product is used."""

from __future__ import annotations

import base64
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

SECONDS = 10.0  # how long anything may take that is meant to happen at once
QUIET_SECONDS = 0.7  # nearly three ticks of the hub: what was due would have come


class Connection:
    """One request and whatever comes back. `head` and `body` grow as bytes arrive; `body` is without chunk sizes."""

    def __init__(self, base_url: str, request: bytes, *, receive_buffer: int | None = None) -> None:
        address = urlsplit(base_url)
        assert address.hostname is not None
        assert address.port is not None
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(SECONDS)
        self.socket.connect((address.hostname, address.port))
        self.opened_at = time.monotonic()
        self.raw = b""
        self.head = b""
        self.body = b""
        self.whole = False  # the body ended as HTTP says, not by a broken connection
        self.closed = False  # the server has closed the connection
        self._rest = b""
        self.socket.sendall(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def status(self) -> int:
        """The status of the answer, once the head is there."""
        self.read_until(lambda: bool(self.head))
        return int(self.head.split(b" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name."""
        self.read_until(lambda: bool(self.head))
        pairs = (line.partition(": ") for line in self.head.decode().split("\r\n")[1:-2])
        return {name.lower(): value for name, _, value in pairs}

    def read_until(self, done: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Read until something holds; fails the test when it does not in time."""
        deadline = time.monotonic() + seconds
        while not done():
            assert not self.closed, f"the connection is closed; last: {self.body[-400:]!r}"
            left = deadline - time.monotonic()
            assert left > 0, f"not within {seconds} s; so far: {self.head!r} {self.body[-400:]!r}"
            self._receive(left)

    def read_for(self, seconds: float) -> None:
        """Read whatever comes in this time."""
        deadline = time.monotonic() + seconds
        while not self.closed and (left := deadline - time.monotonic()) > 0:
            self._receive(left)

    def read_to_end(self, seconds: float = SECONDS) -> bytes:
        """Everything up to the end of the answer."""
        self.read_until(lambda: self.whole, seconds)
        return self.body

    @property
    def shown(self) -> bytes:
        """The body without the `retry:` line at its opening, which is another one for each connection."""
        return re.sub(rb"\Aretry: \d{4}\n", b"", self.body)

    def frames(self) -> list[str]:
        """The whole frames so far (heartbeats stand at the beginning of the frame that follows them)."""
        return self.shown.decode().split("\n\n")[:-1]

    def read_frames(self, count: int, seconds: float = SECONDS) -> list[str]:
        """So many frames."""
        self.read_until(lambda: len(self.frames()) >= count, seconds)
        return self.frames()

    def _receive(self, seconds: float) -> None:
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return
        except ConnectionResetError:
            data = b""
        self.closed = not data
        self.raw += data
        self._rest += data
        self._parse()

    def _parse(self) -> None:
        if not self.head:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return
            self.head, self._rest = head + found, rest
        headers = self.headers
        if headers.get("transfer-encoding") == "chunked":
            self._parse_chunks()
        elif "content-length" in headers:
            self.body, self._rest = self.body + self._rest, b""
            self.whole = len(self.body) >= int(headers["content-length"])
        elif self.head.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")):
            self.whole = True

    def _parse_chunks(self) -> None:
        while b"\r\n" in self._rest and not self.whole:
            size, _, rest = self._rest.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            assert rest[length : length + 2] == b"\r\n", f"a chunk of {length} bytes is not followed by CR LF"
            self.body += rest[:length]
            self._rest = rest[length + 2 :]
            self.whole = length == 0


def get(
    base_url: str, path: str, *, method: str = "GET", receive_buffer: int | None = None, **headers: str
) -> Connection:
    """Send a request. Header names in the keywords: `X_API_Key` for `X-API-Key`."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(base_url).netloc}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Connection(base_url, "\r\n".join([*lines, "", ""]).encode(), receive_buffer=receive_buffer)


def fields(frame: str) -> dict[str, str]:
    """The fields of one server-sent event, without comments. Each may stand there once."""
    found: dict[str, str] = {}
    for line in frame.split("\n"):
        if not line.startswith(":"):
            name, _, value = line.partition(": ")
            assert name not in found, frame
            found[name] = value
    return found


CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass(frozen=True)
class Frame:
    """One WebSocket frame from the server."""

    opcode: int
    payload: bytes

    def __str__(self) -> str:
        if self.opcode == CLOSE:
            return f"CLOSE {struct.unpack('!H', self.payload[:2])[0]} {self.payload[2:].decode()}"
        name = {TEXT: "TEXT", PING: "PING", PONG: "PONG"}[self.opcode]
        return f"{name} {self.payload.decode()}".rstrip()


class WebSocket(Connection):
    """A WebSocket whose frames are read strictly: final, unmasked, in the shortest form (RFC 6455 section 5.2)."""

    def __init__(self, base_url: str, path: str, **headers: str) -> None:
        self.key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {urlsplit(base_url).netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {self.key}",
            *[f"{name.replace('_', '-')}: {value}" for name, value in headers.items()],
        ]
        self.received: list[Frame] = []
        super().__init__(base_url, "\r\n".join([*lines, "", ""]).encode())

    @property
    def texts(self) -> list[str]:
        """The texts so far."""
        return [frame.payload.decode() for frame in self.received if frame.opcode == TEXT]

    @property
    def close_code(self) -> int | None:
        """The code of the server's close frame, if it has come."""
        return next((struct.unpack("!H", f.payload[:2])[0] for f in self.received if f.opcode == CLOSE), None)

    def read_texts(self, count: int, seconds: float = SECONDS) -> list[str]:
        """So many texts."""
        self.read_until(lambda: len(self.texts) >= count, seconds)
        return self.texts

    def read_close(self, seconds: float = SECONDS) -> int:
        """The code that the server closes with."""
        self.read_until(lambda: self.close_code is not None, seconds)
        return self.close_code or 0

    def read_end(self, seconds: float = SECONDS) -> None:
        """Read until the server has closed the TCP connection."""
        self.read_until(lambda: self.closed, seconds)

    def send(self, opcode: int, payload: bytes, *, final: bool = True, masked: bool = True) -> None:
        """One frame from the client."""
        size = len(payload)
        head = bytes([(0x80 if final else 0) | opcode])
        mask_bit = 0x80 if masked else 0
        if size < 126:
            head += bytes([mask_bit | size])
        elif size < 65536:
            head += struct.pack("!BH", mask_bit | 126, size)
        else:
            head += struct.pack("!BQ", mask_bit | 127, size)
        mask = os.urandom(4) if masked else b""
        body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if masked else payload
        self.socket.settimeout(SECONDS)
        self.socket.sendall(head + mask + body)

    def say(self, text: str) -> None:
        """A text in one frame."""
        self.send(TEXT, text.encode())

    def _parse(self) -> None:
        if not self.head or b" 101 " not in self.head.partition(b"\r\n")[0]:
            super()._parse()
        if not self.head or b" 101 " not in self.head.partition(b"\r\n")[0]:
            return
        while (frame := self._frame()) is not None:
            self.received.append(frame)

    def _frame(self) -> Frame | None:
        data = self._rest
        if len(data) < 2:
            return None
        assert data[0] & 0x70 == 0, "reserved bits are set"
        assert data[0] & 0x80, "a frame of the server is not final"
        assert data[1] & 0x80 == 0, "a frame of the server is masked"
        length, at = data[1], 2
        if length == 126:
            length, at = struct.unpack("!H", data[2:4])[0] if len(data) >= 4 else 0, 4
            assert len(data) < 4 or length >= 126, "the length is not in its shortest form"
        elif length == 127:
            length, at = struct.unpack("!Q", data[2:10])[0] if len(data) >= 10 else 0, 10
            assert len(data) < 10 or length >= 65536, "the length is not in its shortest form"
        if len(data) < at + length:
            return None
        self._rest = data[at + length :]
        return Frame(data[0] & 0x0F, data[at : at + length])
