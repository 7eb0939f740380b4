"""The page's tables, from figures. Pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

from bench.figures import B, Judged, Rounds, median, ratio

KINDS = ("web", "worker", "beat", "postgres", "redis")
LATENCIES = ("post", "webhook", "frame")
KNOWN = ("twofold", "plain", "nchan")
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
        for contender in _contenders(rounds, load):
            place = f"{load}/{contender}"
            if load == "idle" or median(rounds, f"{place}/cpu") is None:
                continue
            kinds = [number(ratio(rounds, f"{place}/cpu_{kind}", (B,))) for kind in KINDS]
            cost, total = median(rounds, f"{place}/cpu"), ratio(rounds, f"{place}/cpu", (B,))
            rows.append((
                what, contender, number(median(rounds, f"{place}/rate")), number(cost), number(total), *kinds,
                _percent(median(rounds, f"{place}/generator")),
            ))  # fmt: skip
    head = ("load", "", "events/s", "ms an event", "B an event", *KINDS, "load generator")
    return table(head, rows) if rows else ""


def latencies(rounds: Rounds, loads: Mapping[str, str]) -> str:
    """p50 / p95 / p99 in milliseconds of each load."""
    rows = []
    for load, what in loads.items():
        for contender in _contenders(rounds, load):
            cells = [_spread(rounds, f"{load}/{contender}/{name}") for name in LATENCIES]
            if set(cells) != {DASH}:
                rows.append((what, contender, *cells))
    return table(("load", "", "POST → answer", "POST → webhook", "POST → frame"), rows) if rows else ""


# The way of one event: step, what it takes at least (figures of `limits`, in µs), what it takes (the difference of two
# figures in ms; without the second: the first).
LIFE = (
    ("Flask answers a POST", ("bare/bare/bare_p50",), "", ""),
    ("stored and flushed: one INSERT", ("limits/c/insert_us",), "", ""),
    ("of it, fdatasync of 8 KiB", ("limits/c/fsync_us",), "", ""),
    ("**POST → answer**", ("bare/bare/bare_p50", "limits/c/insert_us"), "post_p50", ""),
    ("announced and rung: one Redis round trip", ("limits/c/redis_us",), "", ""),
    ("claimed: one PostgreSQL round trip, flushed", ("limits/c/insert_us",), "", ""),
    ("sent: libcurl, loopback and back", ("limits/c/libcurl_us",), "", ""),
    ("**answer → webhook**", ("limits/c/redis_us", "limits/c/insert_us", "limits/c/libcurl_us"), "webhook_p50",
     "post_p50"),
    ("**POST → webhook**", ("bare/bare/bare_p50", "limits/c/insert_us", "limits/c/redis_us", "limits/c/insert_us",
                            "limits/c/libcurl_us"), "webhook_p50", ""),
)  # fmt: skip


def life(rounds: Rounds) -> str:
    """The life of one event at 10/s in microseconds: each step's least, and what the product takes."""
    if median(rounds, "limits/c/insert_us") is None:
        return ""
    rows = []
    for step, least, until, since in LIFE:
        found = [_microseconds(rounds, name) for name in least]
        floor = None if None in found else sum(value or 0.0 for value in found)
        here = median(rounds, f"alone-10/twofold/{until}") if until else None
        if here is not None:
            here = 1000 * (here - ((median(rounds, f"alone-10/twofold/{since}") or 0.0) if since else 0.0))
        times = f"{here / floor:.1f}" if here is not None and floor else DASH
        rows.append((step, number(floor), number(here), times))
    return table(("step", "at least, µs", "Twofold, µs", "times"), rows, words=1)


def _microseconds(rounds: Rounds, name: str) -> float | None:
    value = median(rounds, name)
    return value if value is None or name.endswith("_us") else 1000 * value


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


def _contenders(rounds: Rounds, load: str) -> list[str]:
    """Who was measured in a load: this product first."""
    names = {name.split("/")[1] for figures in rounds.values() for name in figures if name.startswith(f"{load}/")}
    return sorted(names, key=lambda name: (KNOWN.index(name) if name in KNOWN else len(KNOWN), name))


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f} %"


# Shown by the tables above; and of statements only those of an event that is alone.
SHOWN = re.compile(r"(cpu(_\w+)?|rate|generator|foreign|(post|webhook|frame)_p\d+|statements_\w+(?<!_at_5))$")
SPREAD = re.compile(r"(\w+)_p(50|95|99)$")


def others(rounds: Rounds, loads: Mapping[str, str]) -> str:
    """Everything that the tables above have not shown."""
    names = sorted({name for figures in rounds.values() for name in figures})
    rows: dict[tuple[str, str, str], str] = {}
    for name in names:
        load, contender, figure = name.split("/")
        if load not in loads or load == "bare" or (SHOWN.match(figure) and load != "idle"):
            continue
        if spread := SPREAD.match(figure):
            rows[loads[load], contender, f"{spread[1]}, p50 / p95 / p99 ms"] = _spread(
                rounds, f"{load}/{contender}/{spread[1]}"
            )
        else:
            rows[loads[load], contender, figure] = number(median(rounds, name))
    shown = ((*words[:2], words[2].replace("_", " "), value) for words, value in rows.items())
    return table(("load", "", "figure", "here"), shown, words=3) if rows else ""
