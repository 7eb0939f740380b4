"""A subscriber that stops reading costs its process next to nothing, its neighbours nothing, and itself no event.

Two servers bear the same load side by side, and only one of them has such a subscriber: the other shows what is the
machine's doing.
"""

from __future__ import annotations

import json
import selectors
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from urllib.parse import urlsplit

import psutil
import pytest

from tests.conftest import StartServer
from tests.processes import RunningServer
from tests.web.live.watching import Stage, Watch, metric

RATE = 200.0  # events a second on each server
BATCH = 10  # in one POST: the load is to be on the streams, not on the door
WARM_SECONDS = 3.0  # the ring is full, the pools are open
STALL_SECONDS = [8.0, pytest.param(30.0, marks=pytest.mark.long)]
VIEWERS = 4
MEBIBYTE = 2**20
RECEIVE_BUFFER = 4096
PADDING = "x" * 200


class Side:
    """One server, its stream, a producer and the viewers."""

    def __init__(self, server: RunningServer) -> None:
        self.stage = Stage(server)
        self.stage.post("{}")
        self.process = psutil.Process(server.pid).children()[0]
        # HTTP/1.0: the bytes are the frames, without chunk sizes in between.
        self.viewers = [self.stage.watch(version="1.0") for _ in range(VIEWERS)]
        assert {viewer.status for viewer in self.viewers} == {200}
        self.pieces: list[list[tuple[float, bytes]]] = [[] for _ in self.viewers]
        self.last = 1

    def memory(self) -> int:
        """Bytes that the process alone holds."""
        return int(self.process.memory_full_info().uss)

    def produce(self, stop: threading.Event) -> None:
        began, count = time.monotonic(), 0
        while not stop.wait(max(0.0, began + count / RATE - time.monotonic())):
            payload = f'{{"at":{time.monotonic()!r},"x":"{PADDING}"}}'
            self.last = self.stage.post(*[payload] * BATCH)[-1]
            count += BATCH

    def delays(self, since: float, until: float) -> list[float]:
        """Seconds from before the POST to the arrival, of events posted between two moments, at every viewer."""
        found: list[float] = []
        for pieces in self.pieces:
            raw = b"".join(piece for _, piece in pieces)
            ends = list(accumulate(len(piece) for _, piece in pieces))
            at = 0
            for frame in raw.split(b"\n\n")[:-1]:
                at += len(frame) + 2
                posted_at = json.loads(frame.partition(b"data: ")[2])["data"]["at"]
                if since <= posted_at < until:
                    found.append(pieces[bisect_left(ends, at)][0] - posted_at)
        return found

    def seqs(self, viewer: int) -> list[int]:
        raw = b"".join(piece for _, piece in self.pieces[viewer])
        return [int(line[4:]) for line in raw.split(b"\n") if line.startswith(b"id: ")]


@contextmanager
def load(sides: list[Side]) -> Iterator[None]:
    """Post on every side, and read what its viewers get, until the end of the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=side.produce, args=(stop,)) for side in sides]
    selector = selectors.DefaultSelector()
    for side in sides:
        for viewer, pieces in zip(side.viewers, side.pieces, strict=True):
            pieces.append((time.monotonic(), viewer.raw.partition(b"\r\n\r\n")[2]))
            selector.register(viewer.socket, selectors.EVENT_READ, pieces)

    def read() -> None:
        while any(thread.is_alive() for thread in threads) or selector.select(0.5):
            for key, _ in selector.select(0.5):
                key.data.append((time.monotonic(), key.fileobj.recv(65536)))  # type: ignore[union-attr]

    reader = threading.Thread(target=read)
    for thread in threads:
        thread.start()
    reader.start()
    yield
    stop.set()
    for thread in [*threads, reader]:
        thread.join(20)
        assert not thread.is_alive()
    selector.close()


def stalled(side: Side) -> Watch:
    """A subscriber that has opened its stream and reads no more of it."""
    server = side.stage.server
    lines = [f"GET {side.stage.live} HTTP/1.1", f"Host: {urlsplit(server.base_url).netloc}"]
    request = "\r\n".join([*lines, f"Authorization: Bearer {server.workspace_key}", "", ""])
    watch = Watch(server.base_url, request.encode(), receive_buffer=RECEIVE_BUFFER)
    assert watch.status == 200
    return watch


def percentile(delays: list[float], share: float) -> float:
    return sorted(delays)[int(len(delays) * share)]


@pytest.mark.parametrize("stall_seconds", STALL_SECONDS)
def test_a_subscriber_that_stops_reading_harms_nobody_and_misses_nothing(
    start_server: StartServer, stall_seconds: float
) -> None:
    with ExitStack() as stack:
        sides = [Side(start_server()), Side(start_server())]
        for side in sides:
            for viewer in side.viewers:
                stack.enter_context(viewer)
        tested = sides[0]
        with load(sides):
            time.sleep(WARM_SECONDS)
            before = [side.memory() for side in sides]
            slow = stack.enter_context(stalled(tested))
            began, growth = time.monotonic(), [0, 0]
            enough = tested.last + RATE * stall_seconds  # a busy machine takes longer to post them
            latest = began + 10 * stall_seconds
            while time.monotonic() < began + stall_seconds or (tested.last < enough and time.monotonic() < latest):
                time.sleep(1)
                growth = [max(old, side.memory() - at) for old, side, at in zip(growth, sides, before, strict=True)]
            ended = time.monotonic()
        delays = [side.delays(began, ended) for side in sides]
        p50, p99 = ([percentile(part, share) for part in delays] for share in (0.5, 0.99))
        print(
            f"grew by {growth[0] / 1024:.0f} KiB, without it by {growth[1] / 1024:.0f} KiB; others' p50"
            f" {p50[0] * 1000:.1f} ms / {p50[1] * 1000:.1f} ms, p99 {p99[0] * 1000:.1f} ms / {p99[1] * 1000:.1f} ms"
        )
        assert growth[0] - growth[1] < MEBIBYTE
        assert p99[0] < 1.5 * p99[1] + 0.02
        assert [metric(side.stage.server, "twofold_catch_ups_total") > 0 for side in sides] == [True, False]
        for side in sides:
            for number in range(VIEWERS):
                assert side.seqs(number) == list(range(2, side.last + 1))
        tested.stage.end()
        slow.read_to_end(30)
        seqs = slow.seqs
        assert seqs == list(range(seqs[0], tested.last + 1))
        assert len(seqs) > 0.9 * RATE * stall_seconds
