"""Cursors: every one comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest

from app.core.feed.cursor import LONGEST, MOST_IN_A_HEADER, Cursor, Tick, decode, encode, may_be, shortened
from app.core.feed.snapshot import MOST_IN_FLIGHT, Snapshot, read_snapshot

QUIET = Tick(7, 0, 12345, 40, Snapshot(900, 900))
BUSY = Tick(9, 2, 2**62, 2**63 - 1, Snapshot(900, 1000, (900, 950, 999)))


@pytest.mark.parametrize("cursor", [Cursor(QUIET), Cursor(QUIET, BUSY, 41), Cursor(BUSY, QUIET, 0)])
def test_a_cursor_comes_back_as_it_was(cursor: Cursor) -> None:
    text = encode(cursor)
    assert decode(text) == cursor
    assert text.replace("-", "").replace("_", "").isalnum()


def test_the_longest_cursor_is_taken() -> None:
    many = Snapshot(2**60, 2**60 + MOST_IN_FLIGHT, tuple(2**60 + number for number in range(MOST_IN_FLIGHT)))
    most = Tick(2**62, 9, 2**62, 2**62, many)
    text = encode(Cursor(most, most, 2**62))
    assert len(text) <= LONGEST
    assert decode(text).upto == most


def packed(plain: str) -> str:
    return urlsafe_b64encode(plain.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest",
        "é",
        "a" * (LONGEST + 1),
        packed("2~7/0/1/1/9:0:"),  # another version
        packed("1~7/0/1/1"),
        packed("1~7/0/1/1/9:0:~7/0/1/1/9:0:"),  # without a place
        packed("1~7/0/1/1/9:0:~7/0/1/1/9:0:~-1"),
        packed("1~7/0/1/1/0:0:"),  # there is no transaction 0
        packed("1~7/0/1/1/9:5:3,2"),  # not in order
        packed("1~7/0/1/1/9:5:6"),  # beyond xmax
        packed("1~7/0/1/1/9:5:,"),
        packed("1~99999999999999999999/0/1/1/9:0:"),
        packed("1~9999999999999999999/0/1/1/9:0:"),  # 19 digits, and more than a bigint
    ],
)
def test_nothing_else_is_a_cursor(text: str) -> None:
    with pytest.raises(ValueError, match=r"no cursor|no snapshot"):
        decode(text)


def test_a_snapshot_is_read_as_postgresql_prints_it() -> None:
    snapshot = read_snapshot("900:1000:900,950")
    assert str(snapshot) == "900:1000:900,950"
    assert [xid for xid in (1, 899, 900, 901, 950, 999, 1000) if snapshot.sees(xid)] == [1, 899, 901, 999]


def test_a_place_for_a_header_is_short_and_never_later() -> None:
    assert shortened(BUSY) == BUSY
    many = Snapshot(1000, 1000 + MOST_IN_FLIGHT, tuple(range(1000, 1000 + MOST_IN_FLIGHT)))
    tick = Tick(2**62, 9, 2**62, 2**62, many)
    short = shortened(tick)
    assert len(encode(Cursor(short))) < 1000
    assert decode(encode(Cursor(short))).after == short
    seen = range(900, 1100 + MOST_IN_FLIGHT)
    assert {xid for xid in seen if short.snapshot.sees(xid)} <= {xid for xid in seen if many.sees(xid)}
    assert all(short.snapshot.sees(xid) for xid in range(900, 1000))  # what was long before stays read
    gaps = Snapshot(1000, 5000, tuple(range(1000, 1400, 4)))
    assert shortened(Tick(1, 0, 1, 1, gaps)).snapshot.sees(1001)


def test_a_shortened_tick_that_was_thinned_out_may_be_ours_and_one_that_names_others_may_not() -> None:
    """With more under way than a header tells, also when most of that began before the last tick that is kept."""
    far = tuple(range(1000, 1000 + 2 * MOST_IN_A_HEADER))
    before = Tick(1, 0, 1, 1, Snapshot(1000, 1300, far))
    thinned = Tick(2, 0, 2, 2, Snapshot(1000, 1400, far[1:]))
    behind = Tick(3, 0, 3, 3, Snapshot(1500, 1500))
    assert may_be(thinned, before, behind)
    assert may_be(shortened(thinned), before, behind)
    assert may_be(shortened(thinned), None, behind)
    seen = shortened(thinned).snapshot
    for forged in (
        Snapshot(seen.xmin, seen.xmax, seen.in_flight[1:]),  # it ends too early, and is not shortened
        Snapshot(900, seen.xmax, (900, *seen.in_flight[1:])),
        Snapshot(seen.xmin, 1299, seen.in_flight),  # its end had ended
    ):
        assert not may_be(replace(thinned, snapshot=forged), before, behind)
    assert not may_be(replace(thinned, snapshot=Snapshot(1501, 1501)), before, behind)
    assert not may_be(thinned, before, replace(behind, no=1))
