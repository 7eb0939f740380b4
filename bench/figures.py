"""Figures of a run by name and round, and what follows from them: medians, ratios, bars. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

B = "bare/bare/bare_cpu"  # CPU milliseconds of one request to a bare Flask route

Rounds = Mapping[int, Mapping[str, float]]  # figures, named load/contender/figure, of each round


@dataclass(frozen=True)
class Bar:
    """What is promised: `top` over the sum of `bottom`, both of the same round, is at most or at least `limit`.

    top and bottom are names of figures; without a bottom the figure itself is held against the limit. unit: what the
    ratio is counted in. today: the figure before the work on speed, as the issue told it.
    """

    load: str
    what: str
    top: str
    bottom: tuple[str, ...]
    limit: float
    at_most: bool
    unit: str = "×"
    today: str = ""


@dataclass(frozen=True)
class Judged:
    """A bar and what was found: None where a load was left out."""

    bar: Bar
    found: float | None

    @property
    def is_met(self) -> bool | None:
        """None: it is not known."""
        if self.found is None:
            return None
        return self.found <= self.bar.limit if self.bar.at_most else self.found >= self.bar.limit


def median(rounds: Rounds, name: str) -> float | None:
    """Of a figure over the rounds that have it."""
    found = [figures[name] for figures in rounds.values() if name in figures]
    return statistics.median(found) if found else None


def ratio(rounds: Rounds, top: str, bottom: Sequence[str]) -> float | None:
    """The median of the rounds' ratios; a round that lacks one of several figures takes that one's median."""
    names = (top, *bottom)
    medians = {name: median(rounds, name) for name in names}
    having = [figures for figures in rounds.values() if any(name in figures for name in names)]
    if any(value is None for value in medians.values()):
        return None
    found = []
    for figures in having:
        values = {name: figures[name] if name in figures else medians[name] or 0.0 for name in names}
        below = sum(values[name] for name in bottom) if bottom else 1.0
        if below:
            found.append(values[top] / below)
    return statistics.median(found) if found else None


def judge(bars: Sequence[Bar], rounds: Rounds) -> list[Judged]:
    """Each bar with what this run has found."""
    return [Judged(bar, ratio(rounds, bar.top, bar.bottom)) for bar in bars]
