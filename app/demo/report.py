"""What the demo shows: progress while it runs, a table at the end."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.client.books.count import Count, percentile
from app.client.books.records import Finding
from app.demo.producer import Tally

PLAIN_LINE_SECONDS = 2.0
PROBLEMS_SHOWN = 20
SUBJECTS_SHOWN = 3


class Meter(Protocol):
    """Shows how far the run is."""

    def show(self, done: dict[str, int], last: bool = False) -> None:
        """Bring the display up to date. done: figures by name; last: it will not be called again."""


@contextmanager
def meter(totals: dict[str, int]) -> Iterator[Meter]:
    """Bars on a terminal, else a plain line every two seconds. totals: what each figure will reach."""
    if not sys.stdout.isatty():
        yield _Plain(totals)
        return
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        yield _Bars(progress, {name: progress.add_task(name, total=total) for name, total in totals.items()})


class _Bars:
    def __init__(self, progress: Progress, tasks: dict[str, Any]) -> None:
        self._progress = progress
        self._tasks = tasks

    def show(self, done: dict[str, int], last: bool = False) -> None:
        for name, count in done.items():
            self._progress.update(self._tasks[name], completed=count)


class _Plain:
    def __init__(self, totals: dict[str, int]) -> None:
        self._totals = totals
        self._next_at = 0.0

    def show(self, done: dict[str, int], last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next_at and not last:
            return
        self._next_at = now + PLAIN_LINE_SECONDS
        print(", ".join(f"{name} {count}/{self._totals[name]}" for name, count in done.items()), flush=True)


@dataclass(frozen=True, slots=True)
class RunResult:
    """The run as it ended. logged: events whose webhook the delivery log calls delivered.
    counts: by view, and "webhook"; problems: whatever else was not as it should be."""

    title: str
    posted: int
    acknowledged: int
    logged: int
    tally: Tally
    counts: dict[str, Count]
    reconnects: int
    findings: list[Finding]
    problems: list[str]

    @property
    def is_good(self) -> bool:
        """Nothing missing, nothing unverified, nothing repeated on a stream, nothing out of order or changed."""
        whole = self.acknowledged == self.logged == self.posted > 0
        return whole and not self.findings and not self.problems


def show(result: RunResult) -> None:
    """Print the table, what was found and the verdict."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(_table(result))
    tally = result.tally
    times = tally.acknowledgment_seconds
    console.print(
        f"posted {result.posted} events, acknowledged {result.acknowledged}, in {len(times)} answered requests"
        f" (p50 {_ms(times, 50)} ms, p95 {_ms(times, 95)} ms); refused {tally.refused}, retried {tally.retried},"
        f" unanswered {tally.unanswered}; stream reconnects {result.reconnects}"
    )
    for text in [*result.problems[:PROBLEMS_SHOWN], *grouped(result.findings)]:
        console.print(f"  ! {text}", markup=False, highlight=False, soft_wrap=True)
    console.print("All there." if result.is_good else "Not as it should be.")


def grouped(findings: Sequence[Finding]) -> list[str]:
    """Findings of one sort on one line, with the first few of them in full."""
    sorts: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        sorts.setdefault((finding.invariant, finding.kind, finding.where), []).append(finding)
    lines = []
    for (invariant, kind, where), found in sorts.items():
        shown = "; ".join(f"{finding.subject}: {finding.detail}" for finding in found[:SUBJECTS_SHOWN])
        more = f"; and {len(found) - SUBJECTS_SHOWN} more" if len(found) > SUBJECTS_SHOWN else ""
        lines.append(f"{invariant} {kind} at {where}, {len(found)}: {shown}{more}")
    return lines


def as_json(result: RunResult) -> str:
    """The same for programs, on one line."""
    return json.dumps(
        {
            "good": result.is_good,
            "posted": result.posted,
            "acknowledged": result.acknowledged,
            "logged": result.logged,
            "refused": result.tally.refused,
            "retried": result.tally.retried,
            "unanswered": result.tally.unanswered,
            "reconnects": result.reconnects,
            "views": {name: _figures(count) for name, count in result.counts.items()},
            "findings": [str(finding) for finding in result.findings],
            "problems": result.problems,
        }
    )


def _table(result: RunResult) -> Table:
    """A column for each view and one for the webhook. posted: what was acknowledged and is to be seen there."""
    table = Table(title=result.title, title_justify="left")
    table.add_column("")
    for name in result.counts:
        table.add_column(name, justify="right")
    counts = result.counts.values()
    table.add_row("posted", *(str(count.expected) for count in counts))
    table.add_row("arrived", *(str(count.arrived) for count in counts))
    table.add_row("verified", *(str(c.verified) if name == "webhook" else "" for name, c in result.counts.items()))
    table.add_row("logged", *(str(result.logged) if name == "webhook" else "" for name in result.counts))
    table.add_row("missing", *(str(count.missing) for count in counts))
    table.add_row("repeated", *(str(count.repeated) for count in counts))
    table.add_row("p50 ms", *(_ms(count.delays_seconds, 50) for count in counts))
    table.add_row("p95 ms", *(_ms(count.delays_seconds, 95) for count in counts))
    return table


def _figures(count: Count) -> dict[str, Any]:
    return {
        "posted": count.expected,
        "arrived": count.arrived,
        "verified": count.verified,
        "missing": count.missing,
        "repeated": count.repeated,
        "p50_ms": _number(count.delays_seconds, 50),
        "p95_ms": _number(count.delays_seconds, 95),
    }


def _number(seconds: Sequence[float], percent: float) -> float | None:
    value = percentile(seconds, percent)
    return None if math.isnan(value) else round(value * 1000, 1)


def _ms(seconds: Sequence[float], percent: float) -> str:
    value = _number(seconds, percent)
    return "–" if value is None else f"{value:.1f}"
