"""A small HTTP/2 server for tests, frame by frame (RFC 9113). Clients with HTTP/1.1 are served as by its base class."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from tests.delivery.sending.scripted_server import ScriptedServer, Seen

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
NO_ERROR, REFUSED_STREAM, HTTP_1_1_REQUIRED = 0x0, 0x7, 0xD
STATUS_200 = b"\x88"  # in HPACK's table, RFC 7541, appendix A

_PREFACE_BYTES = 24


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def ok(stream: int, body: bytes = b"ok") -> bytes:
    """A whole answer."""
    return frame(HEADERS, END_HEADERS, stream, STATUS_200) + frame(DATA, END_STREAM, stream, body)


def refuse(stream: int, code: int) -> bytes:
    """The end of a stream without an answer."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def go_away(last_stream: int, code: int = NO_ERROR) -> bytes:
    """The end of the connection: later streams than this have not been looked at."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big"))


class Http2Server(ScriptedServer):
    """``answer(server, connection, stream)`` is called for every complete request and returns the bytes to send, or
    None to close. ``script`` answers those who come with HTTP/1.1."""

    def __init__(
        self,
        answer: Callable[[Http2Server, socket.socket, int], bytes | None],
        script: Callable[[ScriptedServer, socket.socket, Seen], bytes | None],
        *,
        tls: ssl.SSLContext,
    ) -> None:
        tls.set_alpn_protocols(["h2", "http/1.1"])
        super().__init__(script, tls=tls)
        self._answer = answer
        self.streams: list[tuple[int, int]] = []
        """The requests that came with HTTP/2: the number of the connection, and of the stream."""

    def converse(self, connection: socket.socket, number: int) -> None:
        """Serve one connection."""
        if not isinstance(connection, ssl.SSLSocket) or connection.selected_alpn_protocol() != "h2":
            super().converse(connection, number)
            return
        connection.sendall(frame(SETTINGS, 0, 0))
        with connection.makefile("rb") as stream:
            stream.read(_PREFACE_BYTES)
            while len(head := stream.read(9)) == 9:
                kind, flags, about = head[3], head[4], int.from_bytes(head[5:], "big")
                stream.read(int.from_bytes(head[:3], "big"))
                if kind == SETTINGS and not flags & ACK:
                    connection.sendall(frame(SETTINGS, ACK, 0))
                if kind in (DATA, HEADERS) and flags & END_STREAM:
                    self.streams.append((number, about))
                    reply = self._answer(self, connection, about)
                    if reply is None:
                        return
                    connection.sendall(reply)
