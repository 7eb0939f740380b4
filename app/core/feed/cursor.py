"""A cursor of the feed: how much of a workspace's events its bearer has seen. Opaque to them.

It stands behind a tick, or between two at an event's number. It carries the ticks' snapshots themselves, so that it
stays exact when the ticks have been thinned out; their marks tell a tick of this history from one of a future that was
lost with a server.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace

from app.core.feed.snapshot import Snapshot, unpack

LONGEST = 12_000  # characters: two snapshots with the most transactions that are still near to each other
# Transactions in a cursor that stands in a header: it has some 700 characters then, and the oldest of them, which are
# those that take longest, are told exactly.
MOST_IN_A_HEADER = 64
_VERSION = "1"
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Tick:
    """A moment of the log. epoch: of which history; id: its number; mark: a random number that no other tick has; no:
    the highest number that an event had been given; snapshot: whose transactions had ended."""

    id: int
    epoch: int
    mark: int
    no: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Cursor:
    """after: everything that this tick saw has been read. upto: of what this one saw besides, everything up to the
    number `place` has been read, too; None: nothing."""

    after: Tick
    upto: Tick | None = None
    place: int = 0

    def at(self, upto: Tick, place: int) -> Cursor:
        """The cursor of an event that `upto` saw."""
        return Cursor(self.after, upto, place)


def shortened(tick: Tick) -> Tick:
    """The tick, or a place before it whose cursor is short enough for a header: it sees less of what was under way."""
    in_flight = tick.snapshot.in_flight
    if len(in_flight) <= MOST_IN_A_HEADER:
        return tick
    seen = Snapshot(tick.snapshot.xmin, in_flight[MOST_IN_A_HEADER], in_flight[:MOST_IN_A_HEADER])
    return replace(tick, snapshot=seen)


def may_be(tick: Tick, before: Tick | None, behind: Tick | None) -> bool:
    """Whether a tick that somebody brings may be one of ours. before: the last that is kept, up to its number; behind:
    the next one that is kept; None: there is none. So what lies between two ticks is what was stored between them,
    whatever their bearer says of them: nobody has more read for a page than a page."""
    if before is not None and before.id == tick.id:
        return tick in (before, shortened(before))
    if behind is not None and not (tick.no <= behind.no and tick.epoch <= behind.epoch):
        return False
    if behind is not None and tick.epoch == behind.epoch and tick.snapshot.xmax > behind.snapshot.xmax:
        return False
    if before is None:
        return True
    if not (before.no <= tick.no and before.epoch <= tick.epoch):
        return False
    return before.epoch != tick.epoch or _may_follow(tick.snapshot, before.snapshot)


def _may_follow(later: Snapshot, earlier: Snapshot) -> bool:
    """Whether what had ended once has ended later, too. One that was shortened names its first that it does not see as
    its end."""
    unseen = later.in_flight
    if later.xmax < earlier.xmax:
        if len(unseen) != MOST_IN_A_HEADER:
            return False
        unseen = (*unseen, later.xmax)
    return set(earlier.in_flight).issuperset(xid for xid in unseen if xid < earlier.xmax)


def encode(cursor: Cursor) -> str:
    """The text of a cursor: letters, digits, - and _."""
    parts = [_VERSION, _tick_text(cursor.after)]
    if cursor.upto is not None:
        parts += [_tick_text(cursor.upto), str(cursor.place)]
    return urlsafe_b64encode("~".join(parts).encode()).decode().rstrip("=")


def decode(text: str) -> Cursor:
    """The cursor that a text stands for. Raises ValueError for one that we never made."""
    if len(text) > LONGEST:
        raise ValueError("this is no cursor")
    try:
        plain = urlsafe_b64decode(text.encode("ascii") + b"==").decode("ascii")
    except (binascii.Error, UnicodeError):
        raise ValueError("this is no cursor") from None
    version, *parts = plain.split("~")
    if version != _VERSION or len(parts) not in (1, 3):
        raise ValueError("this is no cursor")
    after = _read_tick(parts[0])
    if len(parts) == 1:
        return Cursor(after)
    return Cursor(after, _read_tick(parts[1]), _number(parts[2]))


def _tick_text(tick: Tick) -> str:
    return f"{tick.id}/{tick.epoch}/{tick.mark}/{tick.no}/{tick.snapshot.packed()}"


def _read_tick(text: str) -> Tick:
    parts = text.split("/")
    if len(parts) != 5:
        raise ValueError("this is no cursor")
    id, epoch, mark, no = (_number(part) for part in parts[:4])
    return Tick(id, epoch, mark, no, unpack(parts[4]))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _LARGEST:
        raise ValueError("this is no cursor")
    return int(text)
