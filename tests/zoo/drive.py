"""The product's sender at work on the zoo: POSTs to many receivers at once, beside a healthy one, and the verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from app.delivery.sending.sender import Request, Result, Sender

POLL_SECONDS = 0.01
# Between two POSTs to the healthy receiver.
HEALTHY_SECONDS = 0.01
# What is still taken from the receivers after the last result is seen, too.
LINGER_SECONDS = 0.3
# No round needs longer; what is left then was never ended.
LONGEST_SECONDS = 60.0
LATE_SECONDS = 0.5
# After its result is decided, which a head that is too large does, too; what lies in the kernels' buffers included.
TAKEN_BYTES = 256 * 1024
HEAD_BYTES = 64 * 1024

Row = Mapping[str, Any]


@dataclass(eq=False)
class Visit:
    """The POSTs to one receiver, one after the other. `started_at`: the present one's, or when it is to start."""

    receiver: Row
    started_at: float
    under_way: bool = False
    results: list[Result] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Every POST has its result."""
        return len(self.results) == len(self.receiver["expected"])


@dataclass
class Round:
    """What came of visiting receivers. `healthy`: how the POSTs to the healthy one ended meanwhile (counted: their
    results would be growth of our own); `growth_bytes`: of our process, at most."""

    visits: list[Visit]
    healthy: Counter[str] = field(default_factory=Counter)
    growth_bytes: int = 0


def visit_all(sender: Sender, receivers: Sequence[Row], healthy_url: str) -> Round:
    """Make each receiver's POSTs, to all receivers at once, and one after the other to the healthy one meanwhile."""
    bodies = {length: b"x" * length for length in {receiver["body_bytes"] for receiver in receivers}}
    process = psutil.Process()
    before = process.memory_info().rss
    began = over_at = healthy_at = time.monotonic()
    done = Round([Visit(receiver, began) for receiver in receivers])
    while sender.in_flight or time.monotonic() < over_at + LINGER_SECONDS:
        for visit in done.visits:
            if not visit.under_way and not visit.is_over and time.monotonic() >= visit.started_at:
                visit.under_way, visit.started_at = True, time.monotonic()
                body = bodies[visit.receiver["body_bytes"]]
                sender.add(Request(visit, visit.receiver["url"], (), body, visit.receiver["name"]))
        left = [visit.receiver["name"] for visit in done.visits if not visit.is_over]
        if left:
            over_at = time.monotonic()
            assert over_at < began + LONGEST_SECONDS, left
        if healthy_at <= time.monotonic() < over_at + LINGER_SECONDS:
            healthy_at = time.monotonic() + HEALTHY_SECONDS
            sender.add(Request("healthy", healthy_url, (), b"{}"))
        _collect(sender, done)
        done.growth_bytes = max(done.growth_bytes, process.memory_info().rss - before)
    return done


def _collect(sender: Sender, done: Round) -> None:
    for result in sender.poll(POLL_SECONDS):
        if isinstance(visit := result.key, Visit):
            now = time.monotonic()
            visit.results.append(result)
            visit.seconds.append(now - visit.started_at)
            visit.under_way, visit.started_at = False, now + visit.receiver["pause_seconds"]
        else:
            done.healthy[result.outcome] += 1


def warm_up(sender: Sender, url: str, times: int) -> None:
    """POST so many times at once: what a sender keeps for its next requests is no growth."""
    for number in range(times):
        sender.add(Request(number, url, (), b"{}"))
    while sender.in_flight:
        sender.poll(1)


def shortcomings(visit: Visit, seen: Row, deadline_seconds: float) -> list[str]:
    """Where the sender fell short with one receiver, in sentences; none is the aim. `seen`: what came to it."""
    expected = [[(one["outcome"], one["status_code"]) for one in accepted] for accepted in visit.receiver["expected"]]
    found = [(str(result.outcome), result.status_code) for result in visit.results]
    posts, said = len(expected), []
    if not all(one in accepted for one, accepted in zip(found, expected, strict=True)):
        said.append(f"expected {expected}, found {found}: {[result.error for result in visit.results]}")
    if max(visit.seconds) > deadline_seconds + LATE_SECONDS:
        said.append(f"ended {max(visit.seconds):.1f} s after it began")
    if seen["requests"] > posts:
        said.append(f"{seen['requests']} requests on the wire for {posts} attempts")
    if seen["connections"] > posts:
        said.append(f"{seen['connections']} connections for {posts} attempts")
    if seen["bytes_sent"] > posts * (HEAD_BYTES + TAKEN_BYTES):
        said.append(f"{seen['bytes_sent'] // 1024} KiB taken for {posts} attempts")
    return [f"{seen['name']}: {sentence}" for sentence in said]
