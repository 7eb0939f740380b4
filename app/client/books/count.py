"""Figures out of the book-keeper's records."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from app.client.books.audit import Index, audit_receiver, audit_viewer, expected_seqs
from app.client.books.records import ReceiverLog, ViewerLog


@dataclass(frozen=True, slots=True)
class Count:
    """A viewer's or receiver's figures.

    expected, arrived, missing: events acknowledged for it, seen at least once, not seen (and not excused);
    repeated: copies beyond the first; verified: events that came at least once with a signature that holds (for a
    viewer as many as arrived); faulty: POSTs whose signature does not hold; delays_seconds: from just before the
    first POST of an event to its first arrival.
    """

    expected: int
    arrived: int
    missing: int
    repeated: int
    verified: int
    faulty: int
    delays_seconds: tuple[float, ...]

    def __add__(self, other: Count) -> Count:
        return Count(
            self.expected + other.expected,
            self.arrived + other.arrived,
            self.missing + other.missing,
            self.repeated + other.repeated,
            self.verified + other.verified,
            self.faulty + other.faulty,
            self.delays_seconds + other.delays_seconds,
        )


def count_viewer(log: ViewerLog, known: Index) -> Count:
    """A viewer's figures. What a cut excuses is neither arrived nor missing."""
    walk = audit_viewer(log, known)
    expected = expected_seqs(log, known)
    delays = (walk.first[seq] - known.by_seq[log.stream, seq].posted_at for seq in expected if seq in walk.first)
    arrived = len(walk.first)
    repeated = walk.copies - arrived
    return Count(len(expected), arrived, len(walk.missing), repeated, arrived, 0, tuple(delays))


def count_receiver(log: ReceiverLog, known: Index) -> Count:
    """A receiver's figures. What it got without a valid signature has not arrived."""
    found = audit_receiver(log, known)
    expected = sum(1 for post in known.by_id.values() if log.wants(post))
    posts = [(known.by_id[event_id], got) for event_id, got in found.first.items() if event_id in known.by_id]
    delays = tuple(got.at - post.posted_at for post, got in posts)
    arrived = len(found.first)
    return Count(expected, arrived, len(found.missing), found.repeated, arrived, found.faulty, delays)


def percentile(values: Collection[float], percent: float) -> float:
    """The smallest value that at least `percent` per cent of the values do not exceed (nearest rank); nan for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else math.nan
