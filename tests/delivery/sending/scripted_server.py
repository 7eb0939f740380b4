"""A small TCP server for tests that answers exactly what a test says, right or wrong."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Seen:
    """A request as it came: the number of its connection, its head line by line, its body."""

    connection: int
    head: list[str]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the only header of this name."""
        values = [line.partition(": ")[2] for line in self.head[1:] if line.lower().startswith(f"{name.lower()}:")]
        assert len(values) <= 1, values
        return values[0] if values else None


class ScriptedServer:
    """Serves each connection in a thread. ``script(server, connection, seen)`` is called for every complete request and
    returns the bytes to send, or None to close. Use as a context manager."""

    def __init__(
        self,
        script: Callable[[ScriptedServer, socket.socket, Seen], bytes | None],
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._script, self._tls = script, tls
        self.seen: list[Seen] = []
        self.connections = 0
        self.closed = 0
        """Connections that this server has closed."""
        self.over = threading.Event()
        """Set when the test ends: what a script that stalls waits for."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=512)
        self.port: int = self._listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self.port}/hook"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> ScriptedServer:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.stop_listening()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def stop_listening(self) -> None:
        """Refuse further connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection, self.connections))
                self._threads.append(thread)
                thread.start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        connection = raw
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what a script sends arrives when it is sent
        with suppress(OSError):
            if self._tls:
                connection = self._shake_hands(raw, self._tls)
            with connection:
                self.converse(connection, number)
        raw.close()
        self.closed += 1

    def converse(self, connection: socket.socket, number: int) -> None:
        """Serve one connection, after the TLS handshake."""
        with connection.makefile("rb") as stream:
            while (seen := _read_request(stream, number)) is not None:
                self.seen.append(seen)
                answer = self._script(self, connection, seen)
                if answer is None:
                    break
                connection.sendall(answer)

    def _shake_hands(self, raw: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        """A refusal (an alert, sent by now) reaches the client only if all that it sent is read: closing with something
        unread resets the connection, which may overtake the alert."""
        try:
            # Left open when the handshake fails, and detached from it: reading goes on where that stopped.
            return tls.wrap_socket(raw.dup(), server_side=True)
        except OSError:
            with suppress(OSError):
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65_536):
                    pass
            raise


def _read_request(stream: object, number: int) -> Seen | None:
    head: list[str] = []
    while (line := stream.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        head.append(line.decode("latin-1").rstrip("\r\n"))
    if not head:
        return None
    seen = Seen(number, head, b"")
    length = int(seen.header("content-length") or 0)
    return Seen(number, head, stream.read(length))  # type: ignore[attr-defined]


def answering(*answers: bytes) -> Callable[[ScriptedServer, socket.socket, Seen], bytes | None]:
    """A script that gives these answers to the first requests, and the last of them ever after."""

    def script(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> bytes:
        return answers[min(len(server.seen), len(answers)) - 1]

    return script


def then_stall(answer: bytes) -> Callable[[ScriptedServer, socket.socket, Seen], bytes | None]:
    """A script that sends ``answer`` and then nothing, with the connection open."""

    def script(server: ScriptedServer, connection: socket.socket, _seen: Seen) -> None:
        connection.sendall(answer)
        server.over.wait(30)

    return script


def then_close(answer: bytes) -> Callable[[ScriptedServer, socket.socket, Seen], bytes | None]:
    """A script that sends ``answer`` and closes the connection."""

    def script(_server: ScriptedServer, connection: socket.socket, _seen: Seen) -> None:
        connection.sendall(answer)

    return script
