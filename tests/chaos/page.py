"""The table in docs/reliability.md, written by a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.stage import Scenario
from tests.chaos.verdict import Verdict

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
COLUMNS = (
    "scenario", "what is done", "times", "acknowledged", "lost", "repeated", "changed", "holes", "disorder", "worst s",
    "as promised",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |"
INTRODUCTION = """\
`make chaos` runs a product as the Procfile starts it, does to it what the table says, and keeps books about it from
outside: what producers were answered, what customers received, what viewers of SSE and WebSocket streams saw. The books
are checked twice, by their own audit and, as journals, by [the history checker](#the-history-checker).

* **lost**: acknowledged events that did not reach every customer and viewer within 45 s, that the API's log leaves out,
  or that it does not call delivered. A POST that nobody answered counts as acknowledged when the log has its event.
* **repeated**: webhooks beyond an event's first, with the same `webhook-id` and bytes. This is allowed; **changed**
  counts those with other bytes or a signature that does not hold.
* **holes**, **disorder**: of streams, as viewers saw them and as the API reads them back.
* **worst s**: the longest that an event waited once the fault was over, or while it lasted where nobody must notice it.
  Each scenario has a limit. No POST may wait longer than 15 s for its answer, and none is answered with a 500.

`make chaos SHORT=1` takes 5 minutes, `make chaos` 20, and `make chaos FULL=1` hours: it goes on where it was
interrupted. `REV=…` names an older release to run beside this one. `python -m tests.chaos --list` names the scenarios;
`--only NAME --rounds N` runs some of them.

Where a process is to die is named by failpoints (`app/failpoints.py` lists them):
`TWOFOLD_FAILPOINTS=drain.claimed:kill@3` kills each worker process at its third claim. A process that finds this
variable does not start unless `TWOFOLD_ALLOW_FAILPOINTS=1` is set, too.
"""


def write(page: Path, text: str) -> None:
    """Put the text between the marks; makes the page when there is none."""
    part = f"{BEGIN}\n{text}\n{END}"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Reliability\n\n## Chaos\n\n"
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    new = pattern.sub(lambda _: part, old) if pattern.search(old) else f"{old.rstrip()}\n\n{part}\n"
    page.write_text(new, encoding="utf-8")


def text_of(scenarios: Sequence[Scenario], done: Mapping[str, Verdict], run: str) -> str:
    """The part of the page. run: what was run, in a few words."""
    table = [row(scenario, done[scenario.name]) for scenario in scenarios if scenario.name in done]
    total = Verdict()
    for verdict in done.values():
        total.add(verdict)
    good = sum(verdict.is_good for verdict in done.values())
    summary = (
        f"{run}: {len(table)} scenarios, done {total.times} times with {total.acknowledged} acknowledged events;"
        f" {good} as promised."
    )
    return "\n".join([INTRODUCTION, HEAD, "|---" * 2 + "|--:" * 8 + "|---|", *table, "", summary])


def row(scenario: Scenario, verdict: Verdict) -> str:
    """One line of the table."""
    figures = [
        verdict.times, verdict.acknowledged, verdict.lost, verdict.repeated, verdict.changed, verdict.holes,
        verdict.disorder, f"{verdict.worst_seconds:.1f}",
    ]  # fmt: skip
    cells = [scenario.name, scenario.what, *map(str, figures), "yes" if verdict.is_good else "**no**"]
    return f"| {' | '.join(cells)} |"
