"""Charts: every number has its place, and an empty span is drawn, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.web.pages.console import charts

STARTS = [datetime(2026, 11, 20, 10, tzinfo=UTC) + timedelta(minutes=number) for number in range(4)]
FLOOR = charts.HEIGHT - charts.BOTTOM


def test_bars_stand_on_each_other_and_say_what_they_are() -> None:
    chart = charts.stacked(STARTS, {"success": [1, 0, 3, 0], "http_error": [1, 0, 1, 2]})
    assert [bar.series for bar in chart.bars] == ["success", "http_error", "success", "http_error", "http_error"]
    low, high = chart.bars[2:4]
    assert (low.x, low.width) == (high.x, high.width)
    assert low.y + low.height == pytest.approx(FLOOR, abs=0.2)
    assert high.y + high.height == pytest.approx(low.y, abs=0.2)
    assert high.y == pytest.approx(charts.TOP, abs=0.2)
    assert low.height == pytest.approx(3 * high.height, abs=0.5)
    assert high.words == "10:02: 1 http error"


def test_lines_are_interrupted_where_nothing_was_measured() -> None:
    chart = charts.lines(STARTS, {"p50": [10, 20, None, 20]}, charts.duration)
    (line,) = chart.lines
    assert [label.text for label in chart.labels][:2] == ["20 ms", "10 ms"]
    assert line.path.count("M") == 1
    assert line.path.count("L") == 1
    assert len(line.dots) == 1


def test_long_durations_are_written_in_seconds() -> None:
    assert [charts.duration(one) for one in (0, 500, 1000, 2500, 20_000)] == ["0 ms", "500 ms", "1 s", "2.5 s", "20 s"]


def test_a_span_without_anything_has_its_axes() -> None:
    chart = charts.stacked(STARTS, {"success": [0, 0, 0, 0]})
    assert chart.bars == []
    assert [label.text for label in chart.labels] == ["2", "1", "10:00", "10:01", "10:02", "10:03"]


@pytest.mark.parametrize(
    ("most", "top"), [(0, 2), (1, 2), (2, 2), (3, 4), (5, 10), (11, 20), (41, 100), (100, 100), (401, 1000)]
)
def test_the_top_is_the_next_round_number(most: int, top: int) -> None:
    assert charts.nice_top(most) == top
