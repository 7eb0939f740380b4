"""A snapshot of PostgreSQL as text: which transactions had ended when it was taken (functions `pg_snapshot_*`)."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

# A server has at most so many transactions under way as it has connections; a cursor that names more is not ours.
MOST_IN_FLIGHT = 1000
_LARGEST = 2**63 - 1
_TEXT = re.compile(r"([0-9]{1,19}):([0-9]{1,19}):((?:[0-9]{1,19}(?:,[0-9]{1,19})*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """xmin: the oldest transaction that had not ended; xmax: the first that had not begun; in_flight: those between
    that had not ended, in order."""

    xmin: int
    xmax: int
    in_flight: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.in_flight))}"

    def packed(self) -> str:
        """The same in fewer letters: numbers counted from xmin."""
        return f"{self.xmin}:{self.xmax - self.xmin}:{','.join(str(xid - self.xmin) for xid in self.in_flight)}"

    def sees(self, xid: int) -> bool:
        """Whether a transaction that was committed had ended by then."""
        return xid < self.xmax and xid not in self.in_flight


def read_snapshot(text: str) -> Snapshot:
    """The snapshot that a text stands for, as PostgreSQL prints it. Raises ValueError for any other."""
    xmin, xmax, in_flight = _numbers(text)
    return _checked(xmin, xmax, in_flight)


def unpack(text: str) -> Snapshot:
    """The snapshot that a packed text stands for. Raises ValueError for any other."""
    xmin, width, offsets = _numbers(text)
    return _checked(xmin, xmin + width, tuple(xmin + offset for offset in offsets))


def _numbers(text: str) -> tuple[int, int, tuple[int, ...]]:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError("this is no snapshot")
    return int(match[1]), int(match[2]), tuple(int(number) for number in match[3].split(",")) if match[3] else ()


def _checked(xmin: int, xmax: int, in_flight: tuple[int, ...]) -> Snapshot:
    rises = all(before < after for before, after in itertools.pairwise(in_flight))
    within = not in_flight or (xmin <= in_flight[0] and in_flight[-1] < xmax)
    if not (0 < xmin <= xmax <= _LARGEST and rises and within and len(in_flight) <= MOST_IN_FLIGHT):
        raise ValueError("this is no snapshot")
    return Snapshot(xmin, xmax, in_flight)
