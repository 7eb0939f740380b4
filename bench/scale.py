"""Sums for docs/scale.md: from what one event, frame and connection cost here to machines. Pure.

`python -m bench.scale` writes them anew from the last run's figures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import page, table
from bench.figures import Rounds, median
from bench.place import ROOT, VAR
from bench.results import read

PAGE = ROOT / "docs" / "scale.md"

# What is asked for.
VIEWERS = 1_000_000
DELIVERIES = 100_000  # a second, one endpoint an event: as many events, which is the dearest mixture
FRAMES = 100_000  # a second to all viewers together: each sees one event in ten seconds
VISIT_SECONDS = 600  # after which a viewer has gone or has come again

# How machines are filled. Queues grow without bound towards 1; at 0.6 a core still answers in twice its idle time.
FILLED = 0.6
CORES = 16  # of one machine
WEB_CONNECTIONS = 10_000  # of one web process (gunicorn.conf.py allows 12,000 and keeps room for requests)
FRAME_BYTES = 450  # envelope, SSE's lines, chunk, TCP and IP headers
WEBHOOK_BYTES = 1_200  # request with signature headers and the answer
BUS_ENTRY_BYTES = 550  # an announcement with its envelope, as XREAD answers it
WAL_LIMIT_BYTES = 200e6  # a second, one PostgreSQL: a good disk flushes it, and 10 Gb/s carry it to two standbys
REDIS_LIMIT_BYTES = 500e6  # a second out of one Redis: half of what 10 Gb/s carry

Named = Mapping[str, float]

FIGURES = {
    "opening": "connections/twofold/opening_ms_each",
    "memory": "connections/twofold/kib_each",
    "idle": "connections/twofold/idle_us_each_second",
    "frames": "fan-streams/twofold/frames_a_cpu_second",
    "web": "ndjson/twofold/cpu_web",
    "worker": "ndjson/twofold/cpu_worker",
    "postgres": "ndjson/twofold/cpu_postgres",
    "redis": "ndjson/twofold/cpu_redis",
    "wal": "ndjson/twofold/wal_bytes",
    "web alone": "crowd-64/twofold/cpu_web",
    "worker alone": "crowd-64/twofold/cpu_worker",
    "postgres alone": "crowd-64/twofold/cpu_postgres",
    "wal alone": "crowd-64/twofold/wal_bytes",
}


@dataclass(frozen=True)
class Sum:
    """One line: what is needed, how it is reckoned in words, and the reckoning. of: what was reckoned above it."""

    name: str
    unit: str
    words: str
    of: Callable[[Named], float]


VIEWER_SUMS = (
    Sum("memory of connections", "GiB", "viewers × memory", lambda f: VIEWERS * f["memory"] / 2**20),
    Sum("web processes", "", f"viewers / {WEB_CONNECTIONS:,}", lambda f: VIEWERS / WEB_CONNECTIONS),
    Sum("cores, idle", "", "viewers × idle", lambda f: VIEWERS * f["idle"] / 1e6),
    Sum("cores, frames", "", f"{FRAMES:,} frames/s / frames", lambda f: FRAMES / f["frames"]),
    Sum("cores, opening", "", f"viewers / {VISIT_SECONDS} s × opening",
        lambda f: VIEWERS / VISIT_SECONDS * f["opening"] / 1e3),
    Sum("web machines", f"of {CORES} cores", f"cores / {FILLED} / {CORES}",
        lambda f: (f["cores, idle"] + f["cores, frames"] + f["cores, opening"]) / FILLED / CORES),
    Sum("network to viewers", "MB/s", f"{FRAMES:,} × {FRAME_BYTES} bytes", lambda f: FRAMES * FRAME_BYTES / 1e6),
    Sum("bus, every process reads every shard", "MB/s", f"{DELIVERIES:,} events/s × {BUS_ENTRY_BYTES} × web processes",
        lambda f: DELIVERIES * BUS_ENTRY_BYTES * f["web processes"] / 1e6),
    Sum("Redis servers for that", "", f"/ {REDIS_LIMIT_BYTES / 1e6:.0f} MB/s",
        lambda f: f["bus, every process reads every shard"] * 1e6 / REDIS_LIMIT_BYTES),
    Sum("bus, a viewer's proxy picks the process by the stream", "MB/s", f"{DELIVERIES:,} events/s × {BUS_ENTRY_BYTES}",
        lambda f: DELIVERIES * BUS_ENTRY_BYTES / 1e6),
)  # fmt: skip


def _delivering(mode: str) -> tuple[Sum, ...]:
    """mode: what is behind the figures' names."""
    return (
        Sum("web cores", "", f"{DELIVERIES:,} × web{mode}", lambda f: DELIVERIES * f[f"web{mode}"] / 1e3),
        Sum("worker cores", "", f"{DELIVERIES:,} × worker{mode}", lambda f: DELIVERIES * f[f"worker{mode}"] / 1e3),
        Sum("PostgreSQL cores", "", f"{DELIVERIES:,} × postgres{mode}",
            lambda f: DELIVERIES * f[f"postgres{mode}"] / 1e3),
        Sum("write-ahead log", "MB/s", f"{DELIVERIES:,} × wal{mode}", lambda f: DELIVERIES * f[f"wal{mode}"] / 1e6),
        Sum("network to endpoints", "MB/s", f"{DELIVERIES:,} × {WEBHOOK_BYTES} bytes",
            lambda f: DELIVERIES * WEBHOOK_BYTES / 1e6),
        Sum("cells by PostgreSQL's cores", "", f"PostgreSQL cores / {FILLED} / {CORES}",
            lambda f: f["PostgreSQL cores"] / FILLED / CORES),
        Sum("cells by its log", "", f"write-ahead log / {WAL_LIMIT_BYTES / 1e6:.0f} MB/s",
            lambda f: f["write-ahead log"] * 1e6 / WAL_LIMIT_BYTES),
        Sum("web and worker machines", f"of {CORES} cores", f"cores / {FILLED} / {CORES}",
            lambda f: (f["web cores"] + f["worker cores"]) / FILLED / CORES),
    )  # fmt: skip


BATCH_SUMS, ALONE_SUMS = _delivering(""), _delivering(" alone")


def reckoned(sums: tuple[Sum, ...], figures: Named) -> dict[str, float] | None:
    """Each sum by its name; None when a figure is missing."""
    known = dict(figures)
    try:
        for one in sums:
            known[one.name] = one.of(known)
    except (KeyError, ZeroDivisionError):
        return None
    return {one.name: known[one.name] for one in sums}


def text_of(rounds: Rounds, run: str) -> str:
    """The part of the page. run: where the figures come from."""
    found = {name: median(rounds, figure) for name, figure in FIGURES.items()}
    figures = {name: value for name, value in found.items() if value is not None}
    rows = [(name, f"`{figure}`", table.number(figures.get(name))) for name, figure in FIGURES.items()]
    parts = [run, table.table(("figure", "in the raw results", "here"), rows)]
    for title, sums in (
        (f"### {VIEWERS:,} viewers", VIEWER_SUMS),
        (f"### {DELIVERIES:,} deliveries/s, events in batches of 500", BATCH_SUMS),
        (f"### {DELIVERIES:,} deliveries/s, events one at a time", ALONE_SUMS),
    ):
        values = reckoned(sums, figures)
        parts += [title, _table(sums, values) if values else "Not measured yet."]
    return "\n\n".join(parts)


def _table(sums: tuple[Sum, ...], values: Mapping[str, float]) -> str:
    rows = [(one.name, one.words, f"{table.number(values[one.name])} {one.unit}".strip()) for one in sums]
    return table.table(("needed", "sum", "result"), rows)


def main() -> int:
    """Write the page's part from the last run of the short or the full form."""
    for form in ("full", "short"):
        results = read(VAR / f"results-{form}.json")
        if results is not None:
            page.write(PAGE, text_of(results.rounds, f"From a run of the {form} form at {results.run['revision']}."))
            return 0
    print("There are no figures yet: make bench", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
