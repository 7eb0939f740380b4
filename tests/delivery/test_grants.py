"""For whom a round claims at the end of a drain's turn."""

from __future__ import annotations

import pytest

from app.core.webhook.fairness import SLOW_AFTER_SECONDS, Slots
from app.core.webhook.shares import Lane
from app.delivery import grants


@pytest.mark.parametrize(
    ("hangs", "closing", "lanes"),
    [
        (None, False, {"fast", "new", "slow"}),
        (None, True, {"fast", "new"}),
        ("new", False, {"fast", "new", "slow"}),
        ("new", True, {"fast"}),  # what is begun now would hang beyond the end, and then nobody is claimed for
        ("slow", True, {"fast", "new"}),
        ("fast", True, {"fast", "new"}),
    ],
)
def test_unknown_endpoints_wait_for_the_next_turn_while_others_like_them_hang(
    hangs: Lane | None, closing: bool, lanes: set[str]
) -> None:
    slots = Slots()
    if hangs is not None:
        slots.start("one", "ep_1", hangs, 0.0)
    slots.advance(SLOW_AFTER_SECONDS - 0.1)
    assert set(grants.places(slots, fast_only=closing)["free"]) == (
        {"fast", "new"} if closing else {"fast", "new", "slow"}
    )
    slots.advance(SLOW_AFTER_SECONDS)
    assert set(grants.places(slots, fast_only=closing)["free"]) == lanes
    if hangs is not None:
        slots.finish("one", SLOW_AFTER_SECONDS + 0.1, succeeded=False)
        assert "new" in grants.places(slots, fast_only=closing)["free"]
