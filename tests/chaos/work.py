"""What is left to do of a run, handed out in pieces, and what became of each piece."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from tests.chaos.product import Build
from tests.chaos.progress import Progress
from tests.chaos.stage import Scenario
from tests.chaos.verdict import Verdict

BATCH = 5  # rounds for which one set of books is kept, and the most that one of several hands does alone at the end
FAULTS_SHOWN, LONGEST_FAULT = 12, 300

Piece = tuple[Scenario, int]


class Work:
    """The scenarios of a run. Several threads may take pieces of it at once."""

    def __init__(self, scenarios: Sequence[Scenario], count: Callable[[Scenario], int], progress: Progress) -> None:
        """count: how often a scenario is done."""
        self._scenarios, self._count, self._progress = scenarios, count, progress
        self._underway: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, build: Build | None = None) -> Piece | None:
        """Rounds that nobody does yet, at a product of this build if there are any; None when all are taken."""
        with self._lock:
            left = [(one, rounds) for one in self._scenarios if (rounds := self._left(one)) > 0]
            if not left:
                return None
            scenario, rounds = next((piece for piece in left if piece[0].build == build), left[0])
            rounds = min(BATCH, rounds)
            self._underway[scenario.name] += rounds
            return scenario, rounds

    def done(self, piece: Piece, verdict: Verdict, seconds: float) -> None:
        """Write down what became of a piece, and say it."""
        scenario, rounds = piece
        with self._lock:
            self._underway[scenario.name] -= rounds
            total = self._progress.add(scenario.name, verdict, seconds)
            print(_line(scenario.name, self._count(scenario), total, seconds), flush=True)
            for fault in verdict.faults[:FAULTS_SHOWN]:
                print(f"  ! {fault[:LONGEST_FAULT]}", flush=True)

    def _left(self, scenario: Scenario) -> int:
        """None is left of a scenario that has gone wrong: its fault is known."""
        found = self._progress.done.get(scenario.name)
        if found is None:
            return self._count(scenario) - self._underway[scenario.name]
        return self._count(scenario) - found.times - self._underway[scenario.name] if found.is_good else 0


def _line(name: str, rounds: int, verdict: Verdict, seconds: float) -> str:
    state = "as promised" if verdict.is_good else "NOT AS PROMISED"
    return (
        f"{name}: {state}: {verdict.times} of {rounds} times, the last in {seconds:.0f} s,"
        f" {verdict.acknowledged} acknowledged, {verdict.lost} lost, {verdict.repeated} repeated,"
        f" {verdict.holes} holes, {verdict.disorder} disorder, worst {verdict.worst_seconds:.1f} s"
    )
