"""The part of docs/reliability.md that the model writes: `python -m tests.model`.

A row for each scenario and a section for each mutant, so that each test can hold its own piece of it to what it found.
"""

from __future__ import annotations

import re

from tests.model.delivery_model import delivery_model
from tests.model.fairness_model import Crowd, fairness_model
from tests.model.mutants import CROWDS, MUTANTS, SCENARIOS, CrowdMutant, Mutant
from tests.model.parts import Scenario
from tests.model.reference import Rules
from tests.model.search import Found, search
from tests.processes import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- model:begin -->\n", "<!-- model:end -->\n"

TABLE = """\
| what there is and what may happen | states | steps |
|---|---|---|
"""
WITHOUT = "### What each safeguard is for\n"


def row(scenario: Scenario | Crowd, found: Found) -> str:
    """A scenario's row of the table."""
    return f"| {scenario.about} | {found.states:,} | {found.transitions:,} |\n"


def section(mutant: Mutant | CrowdMutant, found: Found) -> str:
    """A mutant's section."""
    lines = [f"{number}. {text}" for number, text in enumerate(found.trace, 1)]
    steps = "\n".join(lines)
    return f"#### {mutant.without}\n\n{steps}\n\nBroken: {found.broken}.\n"


def search_scenario(scenario: Scenario) -> Found:
    """With all safeguards in place."""
    return search(delivery_model(scenario, Rules()))


def search_crowd(crowd: Crowd) -> Found:
    return search(fairness_model(crowd))


def block() -> str:
    """All of it: about ten seconds."""
    rows = [row(scenario, search_scenario(scenario)) for scenario in SCENARIOS.values()]
    rows += [row(crowd, search_crowd(crowd)) for crowd in CROWDS.values()]
    mutants = [section(mutant, search(mutant.model)) for mutant in MUTANTS]
    return "\n".join([TABLE + "".join(rows), WITHOUT, *mutants])


def written() -> str:
    """What the page has now."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def headings(text: str) -> list[str]:
    """The mutants' names, in order."""
    return re.findall(r"^#### (.+)$", text, re.MULTILINE)


def write() -> None:
    """Put the block into the page."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{begin}{block()}{END}{after}", encoding="utf-8")
