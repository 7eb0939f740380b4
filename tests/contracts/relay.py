"""A TCP relay in front of a server whose connections can be cut at any moment, and kept from coming back."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, as a network does that has lost its memory


class Relay:
    """Carries every connection to the server behind it. `answered`: on how many the server has said something."""

    def __init__(self, base_url: str) -> None:
        behind = urlsplit(base_url)
        assert behind.hostname is not None
        assert behind.port is not None
        self._behind = (behind.hostname, behind.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answered = 0
        self._down = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def cut(self) -> None:
        """Break every connection, and every new one, until `mend`."""
        with self._lock:
            self._down = True
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Carry connections again."""
        self._down = False

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._down:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.close()
                    continue
                server = socket.create_connection(self._behind)
                with self._lock:
                    self._open |= {client, server}
                thread = threading.Thread(target=self._carry, args=(client, server))
                self._threads.append(thread)
                thread.start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=_pump, args=(server, client, self._on_answer))
        back.start()
        _pump(client, server, lambda: None)
        back.join()
        with self._lock:
            self._open -= {client, server}
        if self._down:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()
        server.close()

    def _on_answer(self) -> None:
        with self._lock:
            self.answered += 1


def _pump(source: socket.socket, target: socket.socket, begun: Callable[[], None]) -> None:
    with suppress(OSError):
        first = True
        while data := source.recv(65536):
            target.sendall(data)
            if first:
                begun()
            first = False
    for one in (source, target):  # the other direction ends, too
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
