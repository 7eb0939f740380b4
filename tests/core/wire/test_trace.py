"""A producer's trace, read as W3C Trace Context says, and a child of it for each attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.core.wire import trace
from app.core.wire.envelope import encode, traceparent_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, GOOD),
        (f"00-{TRACE}-{PARENT}-ff", GOOD),  # flags that version 00 does not know are not sent on
        (f"cc-{TRACE}-{PARENT}-01-what.the.future.brings", GOOD),
        (f"00-{TRACE}-{PARENT}-01-more", ""),
        (f"ff-{TRACE}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", ""),
        (f"{GOOD} ", ""),
        (f"{GOOD},{GOOD}", ""),  # as two headers of the name arrive
        (f"cc-{TRACE}-{PARENT}-01-{'x' * 600}", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_what_is_malformed_is_ignored(text: str | None, expected: str) -> None:
    assert trace.read(text) == expected


def test_each_attempt_has_a_parent_of_its_own_in_the_same_trace() -> None:
    now = datetime(2026, 11, 20, 10, microsecond=123456, tzinfo=UTC)
    children = {
        trace.child(GOOD, delivery, now + later)
        for delivery in ("dlv_1", "dlv_2")
        for later in (timedelta(0), timedelta(milliseconds=1))
    }
    assert len(children) == 4
    assert all(trace.read(one) == one and one.startswith(f"00-{TRACE}-") for one in children)
    assert trace.child(GOOD, "dlv_1", now) == trace.child(GOOD, "dlv_1", now.replace(microsecond=123000))


@pytest.mark.parametrize("metadata", ["", '{"a":1,"traceparent":"x"}'])
@pytest.mark.parametrize("own", ["", GOOD])
def test_an_envelope_holds_the_trace_and_nothing_else_is_taken_for_it(own: str, metadata: str) -> None:
    body = encode(
        id="evt_1",
        type="a",
        timestamp="2026-11-20T10:00:00.000Z",
        workspace_id="ws_1",
        kind="call",
        stream_id="c1",
        seq=12,
        data=f'{{"stream":{{}},"seq":1,"traceparent":"{GOOD}"}}',
        metadata=metadata,
        traceparent=own,
    )
    assert traceparent_of(body) == own
