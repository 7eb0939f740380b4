"""Which events lie between two ticks, as numbers for one statement.

An event belongs to the first tick that sees the transaction which stored it. So what lies between two ticks is what the
later one sees and the earlier one does not: of the transactions that had begun when the earlier one was made, those
that were under way; and all that began since (PgQ's rule). A plain "newer than the oldest that was under way" would
read everything again since the start of the slowest writer.

Within that, events are ordered by their number, which is taken under their stream's lock: the order within a stream is
that of its seq. Where a history ended (an epoch), transaction ids may begin anew: there the numbers part what was
before from what comes after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.feed.cursor import Cursor, Tick
from app.core.feed.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Epoch:
    """A history: from one server, or line of servers, that never lost anything. id: counts them from 0. last_tick,
    last_no: the last of the history before; 0 for the first. first_xid: no transaction before has stored an event of
    it; 0: not known."""

    id: int
    last_tick: int
    last_no: int
    first_xid: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """What one statement reads: the events of transactions from `began` on, or among `in_flight`, that `upto` sees,
    with numbers above `above` and up to `most`. upto None: whatever is stored."""

    began: int
    in_flight: tuple[int, ...]
    upto: Snapshot | None
    above: int
    most: int


MOST_NO = 2**63 - 1


def window(cursor: Cursor, upto: Tick, epochs: Sequence[Epoch]) -> Window:
    """What `upto` saw and the bearer of the cursor has not seen. upto: as by `next_stop`. epochs: all of them."""
    seen, epoch = cursor.after.snapshot, cursor.after.epoch
    floor = next((one.last_no for one in epochs if one.id == epoch), 0)
    most = next((one.last_no for one in epochs if one.id == epoch + 1), MOST_NO)
    above = max(floor, cursor.place if cursor.upto is not None else 0)
    began = max(seen.xmax, next((one.first_xid for one in epochs if one.id == epoch), 0))
    return Window(began, seen.in_flight, upto.snapshot if upto.epoch == epoch else None, above, most)


def next_stop(after: Tick, upto: Tick, epochs: Sequence[Epoch]) -> Tick:
    """Up to where to read in one window: to a later tick, or to the end of the epoch of `after` if that is nearer."""
    if upto.epoch == after.epoch:
        return upto
    return next((beginning_of(epoch) for epoch in epochs if epoch.id == after.epoch + 1), upto)


def beginning_of(epoch: Epoch) -> Tick:
    """The place at which a later epoch begins: everything before it has been read, and nothing of it. It has mark 0."""
    return Tick(epoch.last_tick, epoch.id, 0, epoch.last_no, Snapshot(1, 1))


def is_beyond(cursor: Cursor, epochs: Sequence[Epoch]) -> bool:
    """Whether a cursor is of a future that was lost: its history ended before it."""
    last = cursor.upto or cursor.after
    known = {epoch.id: epoch for epoch in epochs}
    followed = known.get(last.epoch + 1)
    return last.epoch not in known or (followed is not None and last.id > followed.last_tick)
