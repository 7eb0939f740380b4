"""Latencies as the load programs print them: a log-linear histogram of microseconds (bench/load/wire.h)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

EXACT = 128  # microseconds below this have a bucket each
SUB_BUCKETS = 64  # for each doubling above, so that a value is known within 1/64

Pairs = Sequence[Sequence[int]]  # (bucket, how many), as JSON has them


def bucket_of(microseconds: int) -> int:
    """The bucket of a latency, as wire.h numbers it."""
    if microseconds < EXACT:
        return max(0, microseconds)
    shift = microseconds.bit_length() - 7
    return shift * SUB_BUCKETS + (microseconds >> shift)


def middle_of(bucket: int) -> float:
    """Microseconds in the middle of a bucket."""
    if bucket < EXACT:
        return float(bucket)
    shift = bucket // SUB_BUCKETS - 1
    return ((bucket - shift * SUB_BUCKETS) << shift) + (1 << shift) / 2


def merged(histograms: Iterable[Pairs]) -> list[list[int]]:
    """All of them as one."""
    total: dict[int, int] = {}
    for pairs in histograms:
        for bucket, count in pairs:
            total[bucket] = total.get(bucket, 0) + count
    return [[bucket, total[bucket]] for bucket in sorted(total)]


def size(pairs: Pairs) -> int:
    """How many latencies it holds."""
    return sum(count for _, count in pairs)


def percentile(pairs: Pairs, share: float) -> float | None:
    """Milliseconds within which `share` (0.5, 0.99, …) of the latencies lie; None when there are none."""
    wanted = share * size(pairs)
    seen = 0
    for bucket, count in sorted((pair[0], pair[1]) for pair in pairs):
        seen += count
        if seen >= wanted:
            return middle_of(bucket) / 1000
    return None


def percentiles(pairs: Pairs, name: str) -> dict[str, float]:
    """`name`_p50, _p95 and _p99 in milliseconds; empty when there are none."""
    found = {f"{name}_p{share * 100:.0f}": percentile(pairs, share) for share in (0.5, 0.95, 0.99)}
    return {key: value for key, value in found.items() if value is not None}
