"""The page's tables, from figures. Pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

from bench.figures import B, Judged, Rounds, median, ratio

KINDS = ("web", "worker", "beat", "postgres", "redis")
LATENCIES = ("post", "webhook", "frame")
DASH = "–"


def number(value: float | None) -> str:
    """Three digits that count: 1,234 · 123 · 12.3 · 1.23."""
    if value is None:
        return DASH
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 2) -> str:
    """A Markdown table. words: so many columns at the left hold text, the others figures."""
    ruler = ["---"] * words + ["--:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))


def bars(judged: Sequence[Judged]) -> str:
    """Each bar and what was found."""
    rows = []
    for one in judged:
        unit = f" {one.bar.unit}" if one.bar.unit not in ("×", "") else ""
        limit = f"{'≤' if one.bar.at_most else '≥'} {one.bar.limit:g}{' ×' if one.bar.unit == '×' else unit}"
        met = {True: "met", False: "**missed**", None: "open"}[one.is_met]
        found = DASH if one.found is None else f"{number(one.found)}{unit}"
        rows.append((one.bar.load, one.bar.what, one.bar.today or DASH, limit, found, met))
    return table(("load", "what", "at first", "bar", "here", ""), rows)


def costs(rounds: Rounds, loads: Mapping[str, str]) -> str:
    """What an event costs in each load, in B, and where. loads: names with what is done."""
    rows = []
    for load, what in loads.items():
        for contender in _contenders(rounds, load, "cpu"):
            place = f"{load}/{contender}"
            if load == "idle":
                continue
            kinds = [number(ratio(rounds, f"{place}/cpu_{kind}", (B,))) for kind in KINDS]
            cost, total = median(rounds, f"{place}/cpu"), ratio(rounds, f"{place}/cpu", (B,))
            rows.append((
                what, contender, number(median(rounds, f"{place}/rate")), number(cost), number(total), *kinds,
                _percent(median(rounds, f"{place}/generator")),
            ))  # fmt: skip
    head = ("load", "", "events/s", "ms an event", "B an event", *KINDS, "load generator")
    return table(head, rows)


def latencies(rounds: Rounds, loads: Mapping[str, str]) -> str:
    """p50 / p95 / p99 in milliseconds of each load."""
    rows = []
    for load, what in loads.items():
        for contender in ("twofold", "plain", "nchan"):
            cells = [_spread(rounds, f"{load}/{contender}/{name}") for name in LATENCIES]
            if set(cells) != {DASH}:
                rows.append((what, contender, *cells))
    return table(("load", "", "POST → answer", "POST → webhook", "POST → frame"), rows)


def foreign(rounds: Rounds) -> float | None:
    """The share of the machine that others took while costs were measured: the median of all loads."""
    found = [value for figures in rounds.values() for name, value in figures.items() if name.endswith("/foreign")]
    return statistics.median(found) if found else None


def measures(rounds: Rounds) -> str:
    """What the ratios are counted in."""
    rows = [
        ("B: CPU of a request to a bare Flask route", f"{number(median(rounds, B))} ms"),
        ("the same route, requests/s", number(median(rounds, "bare/bare/bare_rate"))),
        ("a route that parses the event and answers, requests/s", number(median(rounds, "bare/bare/parse_rate"))),
        ("bare route at 200/s, p50 / p95 / p99 ms", _spread(rounds, "bare/bare/bare")),
        ("one committed INSERT at 200/s, p50 / p95 / p99 ms", _spread(rounds, "bare/bare/insert")),
    ]
    return table(("measure", "here"), rows, words=1)


def _spread(rounds: Rounds, name: str) -> str:
    found = [median(rounds, f"{name}_{share}") for share in ("p50", "p95", "p99")]
    return DASH if found[0] is None else " / ".join(number(value) for value in found)


def _contenders(rounds: Rounds, load: str, figure: str) -> list[str]:
    return [name for name in ("twofold", "plain", "nchan") if median(rounds, f"{load}/{name}/{figure}") is not None]


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f} %"


def others(rounds: Rounds, loads: Mapping[str, str]) -> str:
    """Everything that the tables above have not shown."""
    shown = re.compile(r"(cpu(_\w+)?|rate|generator|foreign|(post|webhook|frame)_p\d+)$")
    names = sorted({name for figures in rounds.values() for name in figures})
    rows = [
        (loads[load], contender, figure.replace("_", " "), number(median(rounds, f"{load}/{contender}/{figure}")))
        for load, contender, figure in (name.split("/") for name in names)
        if load in loads and load != "bare" and (load == "idle" or not shown.match(figure))
    ]
    return table(("load", "", "figure", "here"), rows, words=3) if rows else ""
