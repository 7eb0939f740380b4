"""A line of the log is one JSON object."""

from __future__ import annotations

import json

from app.core.delays import BOUNDS, cumulative, range_of
from app.core.log_line import OWN, as_json


def test_own_members_come_first_and_no_other_takes_their_place() -> None:
    line = as_json("t", "WARNING", "app", 1, "two\nlines", {"level": "no", "trace_id": "abc", "code": None}, "Trace")
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "t",
        "level": "warning",
        "logger": "app",
        "process": 1,
        "message": "two\nlines",
        "trace_id": "abc",
        "exception": "Trace",
    }
    assert tuple(json.loads(line))[: len(OWN)] == OWN


def test_a_delay_counts_in_its_range_and_in_all_above() -> None:
    counts = {range_of(seconds): 1 for seconds in (0.0, BOUNDS[1], 10.0**6)}
    totals = dict(cumulative(counts))
    assert totals[str(BOUNDS[0])] == 1
    assert totals[str(BOUNDS[1])] == 2
    assert totals[str(BOUNDS[-1])] == 2
    assert totals["+Inf"] == 3
