"""A relay in front of PostgreSQL that counts round trips: how often a client hands over the word and waits."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

# A simple query, or the Sync that ends an extended one (or a whole pipeline of them): PostgreSQL's protocol, "Message
# Formats". Each is answered with ReadyForQuery.
COUNTED = frozenset({b"Q", b"S"})
# The first messages of a connection have no type: SSLRequest and GSSENCRequest ask for encryption, others begin.
ASKING = frozenset({80877103, 80877104})
PIECE_BYTES = 1 << 16


class Frontend:
    """What one client says, as bytes come: yields the types of its messages."""

    def __init__(self) -> None:
        self._waiting = b""
        self._begun = False

    def take(self, data: bytes) -> Iterator[bytes]:
        """The types of the messages that are complete now."""
        self._waiting += data
        while True:
            head = 5 if self._begun else 4
            if len(self._waiting) < head:
                return
            (length,) = struct.unpack_from("!I", self._waiting, head - 4)
            whole = length + head - 4
            if len(self._waiting) < whole:
                return
            message, self._waiting = self._waiting[:whole], self._waiting[whole:]
            if self._begun:
                yield message[:1]
            elif struct.unpack_from("!I", message, 4)[0] not in ASKING:
                self._begun = True


class Relay:
    """Carries connections to one PostgreSQL; `count` is how many round trips there have been."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        credentials = parts.netloc.rpartition("@")[0]
        place = f"{credentials}@127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = urlunsplit(parts._replace(netloc=place))
        self.count = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut every connection."""
        self._closing = True
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets alone are registered
        self._selector.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.2):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._carry(*key.data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._target)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ, (client, server, Frontend()))
        self._selector.register(server, selectors.EVENT_READ, (server, client, None))

    def _carry(self, source: socket.socket, target: socket.socket, frontend: Frontend | None) -> None:
        try:
            data = source.recv(PIECE_BYTES)
            if frontend is not None:
                self.count += sum(kind in COUNTED for kind in frontend.take(data))
            target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for side in (source, target):
                with suppress(KeyError, ValueError):
                    self._selector.unregister(side)
                side.close()
