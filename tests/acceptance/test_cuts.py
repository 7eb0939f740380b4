"""A viewer whose connection breaks all the time, anywhere, has every event once and in order."""

from __future__ import annotations

import random
import socket
import struct
import time

from tests.acceptance.show import Show
from tests.processes import RunningServer
from tests.web.live.watching import open_path

CUTS = 200
RATE = 50.0
LONGEST = 2500  # bytes of one connection, its head included: about five events


class Patient:
    """A client that knows nothing but the last whole event it has seen."""

    def __init__(self, show: Show) -> None:
        self.seen: list[tuple[int, str]] = []
        self.cuts = 0
        self._show = show
        self._path = show.live.removeprefix(show.server.base_url)

    def connect(self, longest: int | None) -> bool:
        """Read up to so many bytes, then cut; whether the stream was read to its end."""
        headers = {"Authorization": f"Bearer {self._show.server.workspace_key}"}
        headers["Last_Event_ID"] = str(self.seen[-1][0] if self.seen else 0)
        with open_path(self._show.server, self._path, **headers) as watch:
            if longest is None:
                watch.read_to_end(20)
            else:
                watch.read_bytes(longest)
            self.seen += [(int(event.id), event.data) for event in watch.events]
            if watch.whole:
                return True
            self.cuts += 1
            if self.cuts % 2:  # every other time the hard way
                watch.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def test_a_viewer_that_is_cut_two_hundred_times_misses_nothing(server: RunningServer) -> None:
    chance = random.Random(6)
    with Show(server) as show:
        show.open()
        patient = Patient(show)
        began = time.monotonic()
        with show.posting(int(RATE * 12), RATE) as producing:
            while patient.cuts < CUTS or producing.is_alive():
                patient.connect(chance.randint(1, LONGEST))
        show.ask("POST", f"/v1/streams/{show.stream[0]}/{show.stream[1]}/end")
        assert patient.connect(None)
        committed = show.committed()
        assert committed == list(range(1, int(RATE * 12) + 1))
        assert [seq for seq, _ in patient.seen] == committed
        page = show.books.viewer("patient", show.stream)
        for seq, data in patient.seen:
            page.saw(seq=seq, data=data.encode().partition(b',"data":')[2][:-1])
        show.settle(1)
        print(f"{patient.cuts} cuts in {time.monotonic() - began:.1f} s, {len(committed)} events")
