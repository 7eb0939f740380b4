"""How `twofold tail` shows an event, an entry of the delivery log, and a frame that is neither."""

from __future__ import annotations

import json
import re

import pytest

from app.cli.tail import logged, of_feed, pretty
from app.client.parse import StreamEvent
from tests.cli.conftest import OddServer, Run

TIME = "2026-11-20T10:00:00.123Z"
EVENT = {"timestamp": TIME, "seq": 7, "type": "call.turn", "data": {"text": "Zoë\x1b[2J"}}
ENTRY = {
    "id": "dlv_1",
    "event_type": "call.turn",
    "endpoint_id": "ep_1",
    "status": "pending",
    "attempt": {"started_at": TIME, "number": 2, "outcome": "timeout", "status_code": None, "duration_ms": 15000},
}


def shown(value: object) -> StreamEvent:
    return StreamEvent("call.turn", json.dumps(value), "7")


def test_an_event_is_a_line_that_cannot_command_the_terminal() -> None:
    line = pretty(shown(EVENT))
    assert re.fullmatch(r"\d\d:\d\d:00\.123      7  call\.turn  .*", line)
    assert line.endswith('{"text": "Zoë\\u001b[2J"}')


def test_an_event_of_the_feed_says_of_which_stream_it_is() -> None:
    line = of_feed(shown(EVENT | {"stream": {"kind": "call", "id": "call_1"}}))
    assert re.fullmatch(r"call/call_1  \d\d:\d\d:00\.123      7  call\.turn  .*", line)


def test_an_attempt_is_a_line() -> None:
    line = logged(shown(ENTRY))
    assert line.endswith("  dlv_1  call.turn to ep_1  attempt 2: timeout, 15000 ms, pending")


def test_a_feed_whose_place_is_lost_says_where_it_goes_on(run: Run, odd_server: OddServer) -> None:
    lost = b'{"code": "cursor_lost", "detail": "It is lost.", "trace_id": "t", "cursor": "Zm9v"}'
    odd_server.answers = [(410, {}, lost)]
    ended = run("tail", "--feed", "--after", "YmFy")
    assert (ended.status, "Go on with: --after Zm9v" in ended.err) == (6, True)


@pytest.mark.parametrize("value", [{"last_seq": 3}, [], "x"])
def test_anything_else_is_shown_as_it_came(value: object) -> None:
    event = StreamEvent("reset", json.dumps(value), "")
    assert pretty(event) == logged(event) == of_feed(event) == f"reset  {json.dumps(value)}"
