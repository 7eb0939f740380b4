"""WebSocket clients that send as fast as they can: they are closed, and nobody else in their process notices."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
import requests

from tests.conftest import StartServer
from tests.contracts import wire
from tests.processes import RunningServer, eventually
from tests.web.live.watching import Stage

CONNECTIONS = 150
FLOOD_SECONDS = 4.0
NOTICED_SECONDS = 1.0  # what another caller may wait meanwhile, at the 99th percentile
PAUSE_SECONDS = 0.02  # between two of its requests
PIECE_BYTES = 64 * 1024
POLICY = struct.pack("!H", 1008)


def frames(first: int, then: int) -> bytes:
    """Empty masked frames, as many as a piece holds: one with the first opcode byte, all others with the second."""
    mask = b"\x80" + bytes(4)
    return bytes([first]) + mask + (bytes([then]) + mask) * (PIECE_BYTES // 6)


FLOODS = {
    "pings": frames(0x80 | wire.PING, 0x80 | wire.PING),
    "pongs": frames(0x80 | wire.PONG, 0x80 | wire.PONG),
    "fragments": frames(wire.TEXT, wire.CONTINUATION),
}


class Flood(threading.Thread):
    """Sends on all sockets as fast as they take it, until the server closes them."""

    def __init__(self, sockets: list[socket.socket], piece: bytes) -> None:
        super().__init__(daemon=True)
        self.closed = 0
        self.answers = dict.fromkeys(sockets, b"")
        self._piece = piece
        self._over = threading.Event()

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in self.answers:
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, memoryview(self._piece))
            while not self._over.is_set() and selector.get_map():
                for key, ready in selector.select(0.1):
                    try:
                        self._step(selector, key, ready)
                    except BlockingIOError:
                        pass
                    except OSError:
                        selector.unregister(key.fileobj)
                        self.closed += 1

    def stop(self) -> None:
        self._over.set()
        self.join(10)
        assert not self.is_alive()

    def _step(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, ready: int) -> None:
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        if ready & selectors.EVENT_READ:
            data = sock.recv(PIECE_BYTES)
            if not data:
                raise ConnectionResetError
            self.answers[sock] += data
        if ready & selectors.EVENT_WRITE:
            left = key.data[sock.send(key.data) :]
            selector.modify(sock, key.events, left or memoryview(self._piece))


def waits_of_another(server: RunningServer, seconds: float) -> Iterator[float]:
    """How long somebody else waits for /healthz, again and again."""
    until = time.monotonic() + seconds
    with requests.Session() as session:
        while (began := time.monotonic()) < until:
            assert session.get(f"{server.base_url}/healthz", timeout=30).status_code == 200
            yield time.monotonic() - began
            time.sleep(PAUSE_SECONDS)


@contextmanager
def flooding(stage: Stage, piece: bytes) -> Iterator[Flood]:
    with ExitStack() as stack:
        path, key = f"{stage.path}/ws", f"Bearer {stage.server.workspace_key}"
        sockets = []
        for _ in range(CONNECTIONS):
            opened = stack.enter_context(wire.WebSocket(stage.server.base_url, path, Authorization=key))
            assert opened.status == 101
            sockets.append(opened.socket)
        flood = Flood(sockets, piece)
        flood.start()
        yield flood
        flood.stop()


@pytest.mark.load
def test_a_flood_of_empty_frames_is_closed_and_disturbs_nobody(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(start_server())
    stage.ask("PUT", stage.path, json={}, status=201)
    workers = {child.pid for child in psutil.Process(stage.server.pid).children()}
    for what, piece in FLOODS.items():
        with flooding(stage, piece) as flood:
            waits = sorted(waits_of_another(stage.server, FLOOD_SECONDS))
            eventually(lambda flood=flood: flood.closed == CONNECTIONS, 20, about="all are closed")
            closed = sum(POLICY in answer for answer in flood.answers.values())
        nearly_all = waits[len(waits) * 99 // 100]
        with capsys.disabled():
            print(f"\n{what}: /healthz p50 {waits[len(waits) // 2]:.3f} s, p99 {nearly_all:.3f} s, {closed} closed")
        assert nearly_all < NOTICED_SECONDS, what
        assert closed == CONNECTIONS, what
    assert {child.pid for child in psutil.Process(stage.server.pid).children()} == workers
