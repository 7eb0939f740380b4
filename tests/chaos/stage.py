"""What a scenario's deed has at hand, and what it tells of itself."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.client.books.records import Posted
from tests.chaos.product import PLAIN, Build, Product
from tests.chaos.traffic import Traffic

# A process is started again, or leases end. The table tells what it took: machines may be busy with other things, so
# only gross excess fails.
RECOVERED_SECONDS = 40.0

Spared = Callable[[Posted], bool]


def everybody(post: Posted) -> bool:
    """Every event counts."""
    return True


@dataclass
class Stage:
    """One round's surroundings. directory: for the round's own files; faults: what the deed itself found wrong."""

    product: Product
    traffic: Traffic
    chance: random.Random
    directory: Path
    release: str = ""
    faults: list[str] = field(default_factory=list)

    def pass_time(self, seconds: float) -> None:
        """Let the traffic flow for so long."""
        threading.Event().wait(seconds)


@dataclass(frozen=True, slots=True)
class Effect:
    """From when on a recovery is counted (monotonic seconds), and which events are to have one."""

    since: float
    spared: Spared = everybody


def now() -> Effect:
    """Everything recovers from this moment on."""
    return Effect(time.monotonic())


Deed = Callable[[Stage], Effect]


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    what: in words. share: of a form's rounds (a long one is done less often). failpoint: it is repeated as often as a
    form repeats failpoints. short: the short form has it, too. within_seconds: the most that a recovery may take.
    excused: reasons for which the API may say that a delivery ended otherwise. impossible: why it cannot be done here,
    "" when it can. ordered: endpoints keep the order of each stream; feed: the tenants' feeds are read, too.
    """

    name: str
    what: str
    deed: Deed
    build: Build = PLAIN
    share: float = 1.0
    failpoint: bool = False
    short: bool = False
    within_seconds: float = RECOVERED_SECONDS
    excused: tuple[str, ...] = ()
    impossible: str = ""
    ordered: bool = False
    feed: bool = False
