"""What a piece of work costs, on a machine that has much else to do."""

from __future__ import annotations

import time
from collections.abc import Callable

TRIES = 3


def costs_less(work: Callable[[], object], seconds: float) -> bool:
    """Whether one of three tries takes this thread less CPU time: neighbours slow down caches and memory."""

    def once() -> float:
        began = time.thread_time()
        work()
        return time.thread_time() - began

    return any(once() < seconds for _ in range(TRIES))
