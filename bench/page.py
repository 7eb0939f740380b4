"""docs/performance.md: the part that a run writes, and the pictures beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import svg, table
from bench.figures import B, Judged, Rounds, median, ratio

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
QUIET = 0.05  # of the machine that others may take
RATES = {"alone-10": 10, "alone-50": 50, "alone-200": 200}


def write(page: Path, text: str) -> None:
    """Put the text between the marks."""
    part = f"{BEGIN}\n{text}\n{END}"
    old = page.read_text(encoding="utf-8") if page.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: part, old), encoding="utf-8")


def text_of(
    judged: Sequence[Judged], rounds: Rounds, loads: Mapping[str, str], errors: Mapping[str, str], run: str
) -> str:
    """The part of the page. run: what was run and where; loads: names with what is done."""
    known = [one for one in judged if one.is_met is not None]
    met = sum(bool(one.is_met) for one in known)
    others = table.foreign(rounds)
    beside = "" if others is None else f" Programs that are not the bench's took {100 * others:.0f} % of the machine."
    if others is not None and others > QUIET:
        beside += " **It was not quiet: latencies and rates say little, ratios are rough.**"
    sections = {
        "Bars": table.bars(judged) if judged else "",
        "Measures": table.measures(rounds),
        "What an event costs": table.costs(rounds, loads),
        "How long it takes (p50 / p95 / p99 in ms)": table.latencies(rounds, loads),
        "The life of one event, at 10 a second": table.life(rounds),
        "Other figures": table.others(rounds, loads),
        "Not measured": "\n".join(f"* {name}: {_first(text)}" for name, text in errors.items()),
    }
    parts = [f"{run}{beside}\n\n{met} of {len(known)} bars are met."]
    for title, text in sections.items():
        parts += [f"### {title}", text] if text else []
    return "\n\n".join(parts)


def pictures(rounds: Rounds) -> dict[str, str]:
    """The charts by their files' names."""
    latency = [
        svg.Series(f"{who}, {share}", _points(rounds, f"{who}/webhook_{share}"))
        for who in ("twofold", "plain")
        for share in ("p50", "p95")
    ]
    cost = [
        svg.Series(who, [
            (rate, value)
            for load, rate in _rates(rounds, who).items()
            if (value := ratio(rounds, f"{load}/{who}/cpu", (B,))) is not None
        ])
        for who in ("twofold", "plain")
    ]  # fmt: skip
    return {
        "rate-latency.svg": svg.chart("POST → webhook", "events/s", "ms", latency),
        "rate-cost.svg": svg.chart("What an event costs", "events/s", "B an event", cost),
        "rows-cost.svg": svg.chart("Cost as the tables grow", "events stored", "B an event", _growth(rounds)),
    }


def _points(rounds: Rounds, figure: str) -> list[tuple[float, float]]:
    found = [(float(rate), median(rounds, f"{load}/{figure}")) for load, rate in RATES.items()]
    return [(rate, value) for rate, value in found if value]


def _rates(rounds: Rounds, who: str) -> dict[str, float]:
    crowds = {load: median(rounds, f"{load}/{who}/rate") for load in ("crowd-16", "crowd-64", "ndjson")}
    return {**RATES, **{load: rate for load, rate in crowds.items() if rate}}


def _growth(rounds: Rounds) -> list[svg.Series]:
    """Figures named growth/twofold/<what>_at_<rows>."""
    names = sorted({name for figures in rounds.values() for name in figures if "/twofold/step_cpu_at_" in name})
    points = [(float(name.rpartition("_")[2]), ratio(rounds, name, (B,)) or 0.0) for name in names]
    return [svg.Series("twofold", sorted(points))] if points else []


def _first(text: str) -> str:
    return text.strip().split("\n")[0][:300]
