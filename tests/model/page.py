"""The part of docs/reliability.md that the model writes: `python -m tests.model`.

A row for each scenario and a section for each mutant, so that each test can hold its own piece of it to what it found.
"""

from __future__ import annotations

import re

from tests.model.delivery_model import delivery_model
from tests.model.fairness_model import Crowd, fairness_model
from tests.model.mutants import CROWDS, MUTANTS, OPEN_CROWDS, SCENARIOS, CrowdMutant, Mutant
from tests.model.parts import Scenario
from tests.model.reference import PRODUCT, Rules
from tests.model.search import Found, search
from tests.processes import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- model:begin -->\n", "<!-- model:end -->\n"

TABLE = """\
| what there is and what may happen | states | steps |
|---|---|---|
"""
WITHOUT = "### What each safeguard is for\n"
OPEN = "### What is not prevented yet\n"


def row(scenario: Scenario | Crowd, found: Found) -> str:
    """A scenario's row of the table."""
    return f"| {scenario.about} | {found.states:,} | {found.transitions:,} |\n"


def section(mutant: Mutant | CrowdMutant, found: Found) -> str:
    """A mutant's section."""
    missing = isinstance(mutant, Mutant) and mutant.rules in lacking()
    note = " The product does not have this safeguard yet." if missing else ""
    return _trace(mutant.without, found, note)


def open_section(crowd: Crowd, found: Found) -> str:
    """The section of something that is not prevented yet."""
    return _trace(crowd.about[0].upper() + crowd.about[1:], found, "")


def lacking() -> list[Rules]:
    """All rules but one, for each one that the product does not have yet."""
    return [
        Rules()._replace(**{name: value})
        for name, value in PRODUCT._asdict().items()
        if value != getattr(Rules(), name)
    ]


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
    still_open = [open_section(crowd, search_crowd(crowd)) for crowd in OPEN_CROWDS.values()]
    return "\n".join([TABLE + "".join(rows), WITHOUT, *mutants, OPEN, *still_open])


def written() -> str:
    """What the page has now."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def headings(text: str) -> list[str]:
    """The mutants' and the open crowds' names, in order."""
    return re.findall(r"^#### (.+)$", text, re.MULTILINE)


def write() -> None:
    """Put the block into the page."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{begin}{block()}{END}{after}", encoding="utf-8")


def _trace(heading: str, found: Found, note: str) -> str:
    lines = [f"{number}. {text}" for number, text in enumerate(found.trace, 1)]
    steps = "\n".join(lines)
    return f"#### {heading}\n\n{steps}\n\nBroken: {found.broken}.{note}\n"
