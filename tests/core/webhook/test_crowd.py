"""Whatever a thousand others do, an endpoint that answers is served about as quickly as alone, from the first second.

The waits are of a calculation (tests.core.webhook.crowd), from due to answered.
"""

from __future__ import annotations

import pytest

from app.core.webhook.fairness import MAX_IN_FLIGHT, Slots
from tests.core.webhook.crowd import Endpoint, run

BEGIN = 1.0  # when the others begin to hang
END = 3.2

NEAR = {"every": 0.005}  # 200 events a second, each answered after 5 ms
FAR = {"every": 0.01, "answer_seconds": 0.2}  # 100 a second: 20 in flight
RARE = {"every": 0.25}


def backlogs(count: int, last_outcome: str | None = "success", failures: int = 0) -> list[Endpoint]:
    """Endpoints that have 20 events due at once, and hang."""
    return [
        Endpoint(
            f"ep{number:04}",
            first=BEGIN,
            backlog=20,
            hangs_from=BEGIN,
            last_outcome=last_outcome,
            failures=failures,
        )
        for number in range(count)
    ]


def busy(count: int, every: float, answer_seconds: float = 0.005) -> list[Endpoint]:
    """Endpoints that answer until all of them begin to hang at once."""
    return [
        Endpoint(
            f"ep{number:04}",
            every=every,
            first=number * 0.618 % every,
            answer_seconds=answer_seconds,
            hangs_from=BEGIN,
        )
        for number in range(count)
    ]


CROWDS = {
    "500 with many due, answered last": lambda: backlogs(500),
    "1,000 with many due, answered last": lambda: backlogs(1000),
    "5,000 with many due, answered last": lambda: backlogs(5000),
    "1,000 with many due, unknown": lambda: backlogs(1000, None),
    "1,000 with many due, known to hang": lambda: backlogs(1000, "timeout", 9),
    "1,000 with one a second, answered a moment ago": lambda: busy(1000, 1.0),
    "100 with ten a second, answered a moment ago": lambda: busy(100, 0.1),
    "5 that are far away and had many in flight": lambda: busy(5, 0.01, 0.2),
}
CASES = [(crowd, NEAR) for crowd in CROWDS]
CASES += [(crowd, healthy) for crowd in CROWDS if crowd.startswith("1,000") for healthy in (FAR, RARE)]


@pytest.mark.parametrize(("crowd", "healthy"), CASES)
def test_a_healthy_endpoint_is_served_as_alone(crowd: str, healthy: dict[str, float]) -> None:
    alone, beside = Endpoint("ep0100 healthy", **healthy), Endpoint("ep0100 healthy", **healthy)
    run(Slots(), [alone], END)
    run(Slots(), [*CROWDS[crowd](), beside], END)
    usual = alone.p99(BEGIN, END - 0.3)
    assert beside.p99(BEGIN, BEGIN + 1) <= 2 * usual
    assert beside.p99(BEGIN + 1, END - 0.3) <= 2 * usual


@pytest.mark.parametrize(("most", "is_held"), [(MAX_IN_FLIGHT, True), (512, False)])
def test_a_healthy_customer_with_a_slow_network_is_held_by_the_setting_alone(most: int, is_held: bool) -> None:
    far = Endpoint("ep", every=0.001, answer_seconds=0.2)  # 1,000 a second: 200 in flight
    slots = Slots(most)
    run(slots, [far], 4.5)
    assert (far.p99(3.0, 4.0) > 0.3) == is_held
    assert slots.in_flight == most if is_held else slots.in_flight < 250
