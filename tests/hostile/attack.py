"""Attacks by one or two people with a key, or with none: as data, and carried out in a process of their own.

    python -m tests.hostile.attack NAME BASE_URL KEY WEBSOCKET_PATH CONNECTIONS SECONDS

prints what became of the connections, as JSON: when all are closed, when SECONDS have passed, or at SIGTERM. Nothing of
the product is used.
"""

from __future__ import annotations

import base64
import json
import os
import re
import selectors
import signal
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

PIECE_BYTES = 64 * 1024
POLICY = struct.pack("!H", 1008)  # the close code of a WebSocket that asks for too much (RFC 6455 section 7.4.1)
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Attack:
    """What is sent on each connection.

    first: at once. then: again and again, if `answered` once there is an answer. every_seconds: how often; 0: as fast
    as it is taken. again: whether a connection that was closed is opened anew. connections: how many make the attack a
    serious one.
    """

    connections: int
    first: bytes
    then: bytes = b""
    every_seconds: float = 0.0
    again: bool = False
    answered: bool = False


def attacks(key: str, path: str) -> dict[str, Attack]:
    """All of them. path: of a WebSocket that the key opens."""
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    nested = b"[" * 4_000_000
    event = b"{" + b",".join(b'"f%d":0' % number for number in range(18_000)) + b"}"  # nearly the largest event
    unknown = b"[" + b",".join([event] * 15) + b"]"
    nonce = base64.b64encode(os.urandom(16)).decode()
    upgrade = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n"
    ).encode()
    return {
        "idle": Attack(5000, b""),
        "heads": Attack(2000, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a", 0.5),
        "bodies": Attack(200, f"{head}Content-Length: 200000\r\n\r\n".encode(), b" ", 0.5),
        "nested": Attack(4, _whole(head, nested), again=True),
        "unknown": Attack(4, _whole(head, unknown), again=True),
        "pings": Attack(150, upgrade, _frames(0x89, 0x89), answered=True),
        "pongs": Attack(150, upgrade, _frames(0x8A, 0x8A), answered=True),
        "fragments": Attack(150, upgrade, _frames(0x01, 0x00), answered=True),
    }


def _whole(head: str, body: bytes) -> bytes:
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _frames(first: int, then: int) -> bytes:
    """Empty masked frames, as many as a piece holds: one with the first opcode byte, all others with the second."""
    mask = b"\x80" + bytes(4)
    return bytes([first]) + mask + (bytes([then]) + mask) * (PIECE_BYTES // 6)


@dataclass
class _Line:
    """One connection: what is still to be sent, when more is, and what has come."""

    left: memoryview
    next_at: float
    answer: bytes = b""


class Attacker:
    """Carries one attack out. ended: connections that the server closed. seen: its statuses, and "1008".
    largest: the bytes of its longest answer."""

    def __init__(self, attack: Attack, base_url: str, connections: int) -> None:
        self._attack = attack
        self._address = (urlsplit(base_url).hostname, urlsplit(base_url).port)
        self._selector = selectors.DefaultSelector()
        self._over = False
        self.ended = self.largest = 0
        self.seen: Counter[str] = Counter()
        for _ in range(connections):
            self._open()

    def run(self, seconds: float) -> None:
        """Attack for so long, until everything was closed, or until `stop`."""
        until = time.monotonic() + seconds
        while not self._over and time.monotonic() < until and self._selector.get_map():
            self._feed(time.monotonic())
            for key, ready in self._selector.select(0.05):
                try:
                    self._step(key, ready)
                except BlockingIOError:
                    pass
                except OSError:
                    self._closed(key)

    def stop(self) -> None:
        """Attack no longer."""
        self._over = True

    def _open(self) -> None:
        sock = socket.create_connection(self._address, CONNECT_SECONDS)
        sock.setblocking(False)
        line = _Line(memoryview(self._attack.first), time.monotonic())
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, line)

    def _feed(self, now: float) -> None:
        """Give each connection that has sent everything the next piece, when its time has come."""
        if not self._attack.then:
            return
        for key in list(self._selector.get_map().values()):
            waits = self._attack.answered and not key.data.answer
            if not waits and not key.data.left and now >= key.data.next_at:
                key.data.left = memoryview(self._attack.then)
                key.data.next_at = now + self._attack.every_seconds
                self._selector.modify(key.fileobj, selectors.EVENT_READ | selectors.EVENT_WRITE, key.data)

    def _step(self, key: selectors.SelectorKey, ready: int) -> None:
        sock, line = key.fileobj, key.data
        assert isinstance(sock, socket.socket)
        if ready & selectors.EVENT_READ:
            data = sock.recv(PIECE_BYTES)
            if not data:
                raise ConnectionResetError
            line.answer += data
        if ready & selectors.EVENT_WRITE:
            line.left = line.left[sock.send(line.left) :]
            if not line.left:
                self._selector.modify(sock, selectors.EVENT_READ, line)

    def _closed(self, key: selectors.SelectorKey) -> None:
        sock, answer = key.fileobj, key.data.answer
        assert isinstance(sock, socket.socket)
        self._selector.unregister(sock)
        sock.close()
        self.ended += 1
        self.largest = max(self.largest, len(answer))
        self.seen.update(found.decode() for found in re.findall(rb"^HTTP/1.1 (\d{3}) ", answer))
        self.seen["1008"] += POLICY in answer
        if self._attack.again:
            self._open()


def main() -> None:
    name, base_url, key, path, connections, seconds = sys.argv[1:]
    attacker = Attacker(attacks(key, path)[name], base_url, int(connections))
    signal.signal(signal.SIGTERM, lambda *_: attacker.stop())
    print("begun", flush=True)
    attacker.run(float(seconds))
    print(json.dumps({"ended": attacker.ended, "seen": attacker.seen, "largest": attacker.largest}), flush=True)


if __name__ == "__main__":
    main()
