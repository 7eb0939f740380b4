"""A TCP proxy in front of PostgreSQL, to be made into one that counts or falls silent."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

PIECE_BYTES = 65536


class Proxy(ABC):
    """A proxy in front of the PostgreSQL of a URL. url: the way through it. Subclasses carry what comes."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._listener.getsockname()[1]}"))
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @abstractmethod
    def shared(self) -> Any:
        """What the two directions of a new connection have in common."""

    @abstractmethod
    def pump(self, source: socket.socket, sink: socket.socket, is_client: bool, shared: Any) -> None:
        """Carry one direction of a connection until it ends, or raise OSError. is_client: the client speaks in it."""

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._target)  # type: ignore[arg-type]
                except OSError:  # nobody is there now
                    near.close()
                    continue
                self._sockets += [near, far]
                shared = self.shared()
                for source, sink, is_client in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._carry, args=(source, sink, is_client, shared), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_client: bool, shared: Any) -> None:
        with suppress(OSError):
            self.pump(source, sink, is_client, shared)
