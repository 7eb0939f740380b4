"""What lies between ticks: in any history, each event is read once, and each stream's events in order."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from app.core.feed.cursor import Cursor, Tick
from app.core.feed.snapshot import Snapshot
from app.core.feed.window import Epoch, Window, beginning_of, is_beyond, next_stop, window


@dataclass
class Log:
    """A database whose transactions overlap. A stream's lock is held to the end of the transaction, as in life."""

    chance: random.Random
    next_xid: int = 100
    next_no: int = 1
    open: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """xid -> (stream, no) of its events."""
    stored: list[tuple[int, int, int]] = field(default_factory=list)
    """(xid, stream, no), in the order of their commits."""
    ticks: list[Tick] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=lambda: [Epoch(0, 0, 0)])

    def tick(self) -> None:
        in_flight = tuple(sorted(self.open))
        snapshot = Snapshot(in_flight[0] if in_flight else self.next_xid, self.next_xid, in_flight)
        number = len(self.ticks) + 1
        self.ticks.append(Tick(number, self.epochs[-1].id, self.chance.randrange(1, 2**62), self.next_no - 1, snapshot))

    def act(self) -> None:
        deed = self.chance.choice(["begin", "write", "write", "commit", "abort", "tick"])
        if deed == "begin":
            self.open[self.next_xid] = []
            self.next_xid += 1
        elif deed == "tick":
            self.tick()
        elif self.open:
            xid = self.chance.choice(sorted(self.open))
            if deed == "write":
                locked = {stream for other, events in self.open.items() if other != xid for stream, _ in events}
                free = sorted({1, 2, 3, 4} - locked)
                if free:
                    self.open[xid].append((self.chance.choice(free), self.next_no))
                    self.next_no += 1
            else:
                events = self.open.pop(xid)
                self.stored += [(xid, stream, no) for stream, no in events] if deed == "commit" else []

    def move(self) -> None:
        """To a server whose transactions are counted anew; what was not committed is gone."""
        self.open.clear()
        self.epochs.append(Epoch(self.epochs[-1].id + 1, self.ticks[-1].id, self.next_no - 1))
        self.next_xid = 100
        self.tick()

    def read(self, asked: Window) -> list[tuple[int, int, int]]:
        """What the feed's statement does."""
        return sorted(
            (
                (xid, stream, no)
                for xid, stream, no in self.stored
                if (xid >= asked.began or xid in asked.in_flight)
                and (asked.upto is None or asked.upto.sees(xid))
                and asked.above < no <= asked.most
            ),
            key=lambda event: event[2],
        )


def read_all(log: Log, cursor: Cursor) -> list[tuple[int, int, int]]:
    """As a reader does who stops and comes back anywhere."""
    found: list[tuple[int, int, int]] = []
    while True:
        upto = cursor.upto
        if upto is None:
            later = [tick for tick in log.ticks if tick.id > cursor.after.id or tick.epoch > cursor.after.epoch]
            if not later:
                return found
            upto = next_stop(cursor.after, log.chance.choice(later[:5]), log.epochs)
        rows = log.read(window(cursor, upto, log.epochs))
        most = log.chance.randrange(1, 6)
        found += rows[:most]
        cursor = cursor.at(upto, rows[most - 1][2]) if len(rows) > most else Cursor(upto)


@pytest.mark.parametrize("seed", range(60))
def test_each_event_is_read_once_and_each_stream_in_order(seed: int) -> None:
    log = Log(random.Random(seed))
    log.tick()
    for step in range(400):
        log.act()
        if seed % 3 == 0 and step in (150, 300):
            log.move()
    log.open.clear()
    log.tick()
    for start in (log.ticks[0], log.chance.choice(log.ticks)):
        found = read_all(log, Cursor(start))
        if start is log.ticks[0]:
            assert sorted(found) == sorted(log.stored)
        assert len(found) == len(set(found))
        for stream in (1, 2, 3, 4):
            numbers = [no for _, its, no in found if its == stream]
            assert numbers == sorted(numbers)
            whole = [no for _, its, no in log.stored if its == stream]
            assert numbers == whole[len(whole) - len(numbers) :]


def test_a_cursor_beyond_the_end_of_its_history_is_lost() -> None:
    quiet = Snapshot(5, 5)
    epochs = [Epoch(0, 0, 0), Epoch(1, 20, 300)]
    assert not is_beyond(Cursor(Tick(20, 0, 1, 300, quiet)), epochs)
    assert is_beyond(Cursor(Tick(21, 0, 1, 301, quiet)), epochs)
    assert is_beyond(Cursor(Tick(20, 0, 1, 300, quiet), Tick(21, 0, 1, 301, quiet), 300), epochs)
    assert not is_beyond(Cursor(beginning_of(epochs[1])), epochs)
    assert is_beyond(Cursor(Tick(3, 2, 1, 1, quiet)), epochs)


def test_a_history_is_read_from_its_first_transaction_on() -> None:
    """From nothing on it would be read through all that was stored before."""
    epochs = [Epoch(0, 0, 0), Epoch(1, 7, 40, 900)]
    begin = Cursor(beginning_of(epochs[1]))
    later = Tick(9, 1, 5, 50, Snapshot(950, 960, (950, 955)))
    assert window(begin, later, epochs).began == 900
    assert window(Cursor(later), later, epochs).began == 960
