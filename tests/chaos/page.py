"""The table in docs/reliability.md, written by a run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.stage import Scenario
from tests.chaos.verdict import Verdict

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
COLUMNS = (
    "scenario", "what is done", "times", "acknowledged", "lost", "repeated", "changed", "holes", "disorder", "worst s",
    "as promised", "revision",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |"
# Whose table stays when another one has run: a longer one's. The short form writes none.
WRITING = ("normal", "full")


@dataclass(frozen=True)
class Told:
    """What a run says of itself above its table. minutes: of all products, those beside each other added up.
    again: scenarios of which an earlier try went wrong. revisions: by scenario, those at which it was done."""

    form: str
    revision: str
    minutes: float
    again: Sequence[str] = ()
    revisions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """Where a scenario was done; the run's own revision unless a run was gone on with."""
        return ", ".join(self.revisions.get(name, ())) or self.revision

    def __str__(self) -> str:
        return (
            f"The {self.form} form at {self.revision} in {self.minutes:.0f} minutes of trials on {os.cpu_count()} cores"
        )


def writes(page: Path, form: str) -> bool:
    """Whether a run of this form puts its table into the page, or leaves the one that is there."""
    if form not in WRITING:
        return False
    there = re.search(r"^The (\w+) form at", _part(page), re.MULTILINE)
    return there is None or there[1] not in WRITING or WRITING.index(there[1]) <= WRITING.index(form)


def write(page: Path, text: str) -> None:
    """Put the text between the marks. The page must have them."""
    old = page.read_text(encoding="utf-8")
    page.write_text(old.replace(_part(page), f"{BEGIN}\n{text}\n{END}"), encoding="utf-8")


def text_of(scenarios: Sequence[Scenario], done: Mapping[str, Verdict], run: Told) -> str:
    """What goes between the marks."""
    table = [
        row(scenario, done[scenario.name], run.at(scenario.name)) for scenario in scenarios if scenario.name in done
    ]
    total = Verdict()
    for verdict in done.values():
        total.add(verdict)
    good = sum(verdict.is_good for verdict in done.values())
    summary = (
        f"{run}: {len(table)} scenarios, done {total.times} times with {total.acknowledged} acknowledged events;"
        f" {total.lost} lost, {good} scenarios as promised."
    ) + (f" Tried again after an earlier try went wrong: {', '.join(dict.fromkeys(run.again))}." if run.again else "")
    return "\n".join([summary, "", HEAD, "|---" * 2 + "|--:" * 8 + "|---" * 2 + "|", *table])


def row(scenario: Scenario, verdict: Verdict, revision: str) -> str:
    """One line of the table."""
    figures = [
        verdict.times, verdict.acknowledged, verdict.lost, verdict.repeated, verdict.changed, verdict.holes,
        verdict.disorder, f"{verdict.worst_seconds:.1f}",
    ]  # fmt: skip
    cells = [scenario.name, scenario.what, *map(str, figures), "yes" if verdict.is_good else "**no**", revision]
    return f"| {' | '.join(cells)} |"


def _part(page: Path) -> str:
    """The marks and what is between them."""
    found = re.search(f"{re.escape(BEGIN)}.*?{re.escape(END)}", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{page} has no part for this table"
    return found[0]
