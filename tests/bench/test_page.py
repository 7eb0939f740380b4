"""What a run writes: tables, charts, and the part of the page between its marks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import page, svg, table
from bench.figures import Bar, Judged

ROUNDS = {
    0: {
        "bare/bare/bare_cpu": 0.2, "alone-10/twofold/cpu": 4.0, "alone-10/twofold/cpu_web": 2.0,
        "alone-10/twofold/webhook_p50": 2.5, "alone-10/twofold/webhook_p95": 3.1, "alone-10/twofold/webhook_p99": 4.0,
        "alone-10/twofold/generator": 0.02,
    }
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0, "0.00"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (2606, "2,606")]
)
def test_a_number_shows_three_digits_that_count(value: float | None, shown: str) -> None:
    assert table.number(value) == shown


def test_a_bar_is_met_missed_or_open() -> None:
    bar = Bar("alone-10", "CPU", "", (), 30, True, "B", "106")
    lines = table.bars([Judged(bar, 29.0), Judged(bar, 31.0), Judged(bar, None)]).splitlines()[2:]
    assert lines == [
        "| alone-10 | CPU | 106 | ≤ 30 B | 29.0 B | met |",
        "| alone-10 | CPU | 106 | ≤ 30 B | 31.0 B | **missed** |",
        "| alone-10 | CPU | 106 | ≤ 30 B | – | open |",
    ]


def test_costs_are_told_in_b() -> None:
    row = table.costs(ROUNDS, {"alone-10": "10 single POSTs/s"}).splitlines()[2]
    assert row == "| 10 single POSTs/s | twofold | – | 4.00 | 20.0 | 10.0 | – | – | – | – | 2 % |"


def test_latencies_show_three_percentiles() -> None:
    row = table.latencies(ROUNDS, {"alone-10": "10 single POSTs/s"}).splitlines()[2]
    assert row == "| 10 single POSTs/s | twofold | – | 2.50 / 3.10 / 4.00 | – |"


def test_the_life_of_an_event_is_held_against_its_limits() -> None:
    limits = {f"limits/c/{name}_us": value for name, value in (("insert", 500.0), ("redis", 100.0), ("libcurl", 400.0))}
    measured = {"bare/bare/bare_p50": 0.5, "alone-10/twofold/post_p50": 2.0, "alone-10/twofold/webhook_p50": 5.0}
    rows = table.life({0: {**limits, **measured}}).splitlines()[2:]
    assert rows[0] == "| Flask answers a POST | 500 | – | – |"
    assert rows[3] == "| **POST → answer** | 1,000 | 2,000 | 2.0 |"
    assert rows[7:] == [
        "| **answer → webhook** | 1,000 | 3,000 | 3.0 |",
        "| **POST → webhook** | 2,000 | 5,000 | 2.5 |",
    ]


def test_what_no_other_table_shows_is_not_lost() -> None:
    figures = {
        "read/twofold/stream_p50": 1.0, "read/twofold/stream_p95": 2.0, "read/twofold/stream_p99": 3.0,
        "read/twofold/stream_cpu": 0.5, "read/twofold/cpu_web": 0.5, "read/twofold/statements_SELECT_an_event_at_50": 1,
    }  # fmt: skip
    assert table.others({0: figures}, {"read": "GET"}).splitlines()[2:] == [
        "| GET | twofold | stream cpu | 0.50 |",
        "| GET | twofold | stream, p50 / p95 / p99 ms | 1.00 / 2.00 / 3.00 |",
    ]


def test_the_part_between_the_marks_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    file.write_text(f"# Performance\n\nBefore.\n\n{page.BEGIN}\nold\n{page.END}\n\nAfter.\n")
    page.write(file, r"new \1")
    assert file.read_text() == f"# Performance\n\nBefore.\n\n{page.BEGIN}\nnew \\1\n{page.END}\n\nAfter.\n"


def test_a_run_is_told_without_a_date() -> None:
    text = page.text_of([], ROUNDS, {"alone-10": "10 single POSTs/s"}, {"read/twofold/0": "no\nmore"}, "A run.")
    assert text.startswith("A run.\n\n0 of 0 bars are met.")
    assert "* read/twofold/0: no\n" in f"{text}\n"


@pytest.mark.parametrize("points", [[], [(1.0, 1.0)], [(1.0, 5.0), (200.0, 7.0)], [(0.0, 0.0), (1e6, 3e9)]])
def test_a_chart_is_well_formed_whatever_its_points(points: list[tuple[float, float]]) -> None:
    drawn = ET.fromstring(svg.chart("A < B", "events/s", "ms", [svg.Series("twofold & co", points)]))
    assert drawn.tag.endswith("svg")


def test_a_chart_s_places_are_inside_it() -> None:
    axis = svg.Axis.of([1.0, 2000.0], svg.LEFT, svg.WIDTH - svg.RIGHT)
    assert axis.is_log
    assert axis.ticks() == [1.0, 10.0, 100.0, 1000.0, 10000.0]
    assert axis.place(1.0) == svg.LEFT
    assert axis.place(10000.0) == svg.WIDTH - svg.RIGHT


def test_every_picture_is_drawn_from_any_figures() -> None:
    for drawn in (*page.pictures(ROUNDS).values(), *page.pictures({}).values()):
        ET.fromstring(drawn)
