"""A lane is blocked: one event of an endpoint that keeps order is refused, and its stream waits; the others go on."""

from __future__ import annotations

import time

from app.client.books.records import Posted, stream_of
from tests.chaos.stage import Effect, Stage

# An attempt each 1, 2 and 4 s: the fourth is taken.
BLOCKED_SECONDS = 6.0


def block_lane(stage: Stage) -> Effect:
    """Whoever waits for the blocked stream waits for the end of that; nobody else does."""
    tenant = stage.traffic.tenants[0]
    blocked = tenant.streams[0]
    tenant.customer.refuses = lambda body: stream_of(body) == blocked
    began = time.monotonic()
    stage.pass_time(BLOCKED_SECONDS)
    tenant.customer.refuses = lambda body: False

    def spared(post: Posted) -> bool:
        return post.stream != blocked

    return Effect(began, spared)
