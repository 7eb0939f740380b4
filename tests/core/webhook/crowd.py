"""A drain among endpoints that answer or hang, as a calculation: the real `Slots`, and a clock that is only a number.

A round collects the answers that have come, claims what is due, and sends it, as the drain does; what that costs is
assumed. Whoever is ill from some moment on gets what waits for him all the same, and never answers before the time-out.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from app.core.webhook.fairness import Slots
from app.core.webhook.retry import Outcome

# What a round costs the process: about what was measured for today's statements and for libcurl.
CLAIM_SECONDS = 0.003
START_SECONDS = 0.00015
RESULT_SECONDS = 0.00010
# How many endpoints a claim looks at, besides those that answer.
LOOKED_AT = 256
TIMEOUT_SECONDS = 15.0


@dataclass(eq=False)
class Endpoint:
    """A receiver. every: seconds between its events, from `first` on; backlog: how many are due at that moment.
    last_outcome: what its row says at the beginning."""

    id: str
    answer_seconds: float = 0.005
    every: float = 0.0
    first: float = 0.0
    backlog: int = 0
    hangs_from: float = math.inf
    last_outcome: str | None = "success"
    failures: int = 0
    due: deque[float] = field(default_factory=deque)
    waits: list[tuple[float, float]] = field(default_factory=list)  # when it was due, and how long its answer took

    def arrivals(self, until: float) -> Iterator[float]:
        yield from [self.first] * self.backlog
        if self.every:
            yield from (self.first + number * self.every for number in range(int((until - self.first) / self.every)))

    def p99(self, since: float, until: float) -> float:
        """Of the waits from due to answered, of what became due in that time; what was never answered counts."""
        waits = [wait for at, wait in self.waits if since <= at < until]
        waits = sorted(waits + [math.inf for at in self.due if since <= at < until])
        return waits[max(0, math.ceil(len(waits) * 0.99) - 1)]


def run(slots: Slots, endpoints: Sequence[Endpoint], until: float) -> None:
    """Let a drain work until that second."""
    arriving = [(at, number, endpoint) for number, endpoint in enumerate(endpoints) for at in endpoint.arrivals(until)]
    arriving.sort(key=lambda each: each[:2])
    coming = deque(arriving)
    results: list[tuple[float, int, Endpoint, float, bool]] = []
    keys, now, turn = count(), 0.0, 0
    by_id = {endpoint.id: endpoint for endpoint in endpoints}
    waiting: dict[str, Endpoint] = {}
    while now < until:
        while coming and coming[0][0] <= now:
            at, _, endpoint = coming.popleft()
            endpoint.due.append(at)
            waiting[endpoint.id] = endpoint
        while results and results[0][0] <= now:
            ended_at, key, endpoint, due_at, succeeded = heapq.heappop(results)
            slots.finish(key, now, succeeded=succeeded)
            now += RESULT_SECONDS
            endpoint.last_outcome = Outcome.SUCCESS if succeeded else Outcome.TIMEOUT
            endpoint.failures = 0 if succeeded else endpoint.failures + 1
            if succeeded:
                endpoint.waits.append((due_at, ended_at - due_at))
        slots.advance(now)
        order = sorted(waiting)
        looked_at = [order[(turn + place) % len(order)] for place in range(min(len(order), LOOKED_AT))]
        turn = 0 if len(order) <= LOOKED_AT else (turn + LOOKED_AT) % len(order)
        asking = dict.fromkeys([*looked_at, *(each for each in slots.answering if each in waiting)])
        lanes = {each: slots.lane(each, by_id[each].failures, by_id[each].last_outcome) for each in asking}
        shares = slots.shares(lanes)
        now += CLAIM_SECONDS
        full = len(order) > LOOKED_AT or shares.held_back
        for endpoint_id, most in shares.rows.items():
            endpoint = by_id[endpoint_id]
            full |= most <= len(endpoint.due)
            for _ in range(min(most, len(endpoint.due))):
                key, due_at = next(keys), endpoint.due.popleft()
                now += START_SECONDS
                slots.start(key, endpoint_id, lanes[endpoint_id], now)
                hangs = now >= endpoint.hangs_from
                ends_at = now + (TIMEOUT_SECONDS if hangs else endpoint.answer_seconds)
                heapq.heappush(results, (ends_at, key, endpoint, due_at, not hangs))
            if not endpoint.due:
                del waiting[endpoint_id]
        if not (shares.rows and full):
            following = [each[0][0] for each in (coming, results) if each]
            now = max(now, min([*following, now + 0.05]))
