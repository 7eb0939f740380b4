"""Time travel: an ended stream played at its own pace, or any times faster, in the frames of every replay."""

from __future__ import annotations

import json
import time

import pytest

from tests.processes import RunningServer
from tests.web.live.watching import Stage

LENGTH_SECONDS = 6  # from the first event of the recording to the last


@pytest.fixture
def stage(server: RunningServer) -> Stage:
    """A stream whose three events happened seconds apart."""
    made = Stage(server)
    for second in (0, 2, 6):
        event = {
            "stream": {"kind": made.kind, "id": made.id},
            "type": "note.added",
            "data": {"second": second},
            "occurred_at": f"2026-05-04T10:00:0{second}Z",
        }
        made.ask("POST", "/v1/events", status=202, json=event)
    return made


def test_an_ended_stream_is_played_as_many_times_faster(stage: Stage) -> None:
    """When each event is due is shown without a clock in tests/live/test_pace.py."""
    stage.end()
    with stage.watch("?speed=1") as in_real_time:
        in_real_time.read_events(1)
        for speed in (20, 10):
            began = time.monotonic()
            with stage.watch("?after_seq=0") as at_once, stage.watch(f"?speed={speed}") as played:
                at_once.read_to_end()
                played.read_to_end()
                assert time.monotonic() - began >= LENGTH_SECONDS / speed  # never early, however busy the machine is
                assert played.shown == at_once.shown
        in_real_time.read_for(0.01)
        assert 1 <= len(in_real_time.events) < 3  # it is not over yet: the others were faster
        in_real_time.read_to_end()
        assert in_real_time.shown == played.shown


def test_a_cursor_holds_for_a_played_stream_too(stage: Stage) -> None:
    stage.end()
    with stage.watch("?speed=1", Last_Event_ID="2") as played:
        played.read_to_end()
        assert [json.loads(event.data)["data"]["second"] for event in played.events] == [6]


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast", "1e9", "0.001"])
def test_a_speed_that_is_none_is_refused(stage: Stage, speed: str) -> None:
    stage.end()
    with stage.watch(f"?speed={speed}") as refused:
        assert refused.status == 422


def test_a_stream_that_goes_on_has_no_speed(stage: Stage) -> None:
    with stage.watch("?speed=2") as refused:
        assert refused.status == 409
