"""A drain without its sender, as the shadow has it: what it holds, its places, and the answers that it gets."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.core.webhook.fairness import Slots
from app.core.webhook.retry import Outcome
from app.delivery.attempts import Exchange
from app.delivery.claims import Claimed, Claimer
from tests.model import reference

Answer = tuple[Outcome, int | None, str | None]
"""An attempt's outcome, status code and Retry-After."""

DELAYS = (5.0, 30.0)
LEASE_SECONDS = 60


@dataclass(slots=True)
class Worker:
    """A drain's parts, without its sender. held: what it has claimed and not recorded; recorded: its last batch.

    taken: places that others have of its slots, by lane.
    """

    taken: dict[str, int]
    claimer: Claimer = field(init=False)
    slots: Slots = field(init=False)
    held: list[Claimed] = field(init=False)
    recorded: list[Exchange] = field(init=False)

    def __post_init__(self) -> None:
        self.restart(0.0)

    def restart(self, clock: float) -> None:
        """Killed, and started again."""
        self.claimer, self.slots, self.held, self.recorded = Claimer(lease_seconds=LEASE_SECONDS), Slots(), [], []
        for lane, count in self.taken.items():
            for number in range(count):
                self.slots.start((lane, number), f"another {lane} {number}", lane, clock)  # type: ignore[arg-type]


def exchange_of(claimed: Claimed, answer: Answer) -> Exchange:
    """What came of a claimed delivery that was answered so."""
    outcome, status_code, retry_after = answer
    return Exchange(claimed, outcome, status_code, None, None, (), b"", retry_after, claimed.claimed_at, 0.1)


def as_reference(exchange: Exchange) -> reference.Exchange:
    """The same for the reference."""
    token = exchange.claimed.lease_token
    return reference.Exchange(token, exchange.outcome, exchange.status_code, exchange.retry_after)
