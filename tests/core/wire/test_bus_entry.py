"""An announcement as a bus entry: it comes out as it went in, and an entry of another program is refused."""

from __future__ import annotations

import pytest

from app.core.wire import bus_entry
from app.core.wire.bus_entry import MAX_BODY_BYTES
from app.core.wire.envelope import Announcement
from tests.live.scripted import event, told

LARGE = '{"x":"' + "x" * MAX_BODY_BYTES + '"}'


@pytest.mark.parametrize(
    "announcement",
    [
        told(7),
        told(7, ends=True),
        told(7, ends=True, bare=True),
        told(7, too_large=True),
        told(7, epoch=3),
        Announcement(2**40, 2**40, event(2**40, type="a.b:c-d", data='{"s":"\\r\\né\u2028","\\ud800":1e400}'), False),
    ],
)
def test_an_announcement_goes_through_redis_unchanged(announcement: Announcement) -> None:
    sent = bus_entry.encode(announcement).items()
    fields = {key: value if isinstance(value, bytes) else str(value).encode() for key, value in sent}
    assert bus_entry.decode(fields) == announcement


def test_an_event_beyond_the_bound_is_announced_by_its_seq_alone() -> None:
    large = event(7, data=LARGE)
    assert bus_entry.encode(Announcement(1, 7, None, False, epoch=2)) == {b"s": 1, b"q": 7, b"h": 2}
    assert bus_entry.encode(Announcement(1, 7, large, True)) == {b"s": 1, b"q": 7, b"e": 1}


GOOD = {b"s": b"1", b"q": b"7", b"i": b"evt_7", b"t": b"note", b"a": event(7).timestamp.encode(), b"b": event(7).body}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"x": b"1"},
        {b"s": b"1"},
        {b"s": b"one", b"q": b"7"},
        {b"s": b"1", b"q": b"7.0"},
        {b"s": b"1", b"q": b"7", b"b": event(7).body},
        GOOD | {b"t": b"\xff"},
        GOOD | {b"b": b""},
        GOOD | {b"b": b"{}"},
        GOOD | {b"b": b"id: 1\n\n"},
        GOOD | {b"b": event(8).body},
        GOOD | {b"b": event(7).body[:-1]},
    ],
)
def test_an_entry_of_another_program_is_no_announcement(fields: dict[bytes, bytes]) -> None:
    assert bus_entry.decode(GOOD) == told(7)
    with pytest.raises((KeyError, ValueError)):
        bus_entry.decode(fields)
