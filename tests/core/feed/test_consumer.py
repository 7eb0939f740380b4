"""Consumers: who may read, where a commit leads, and what lies behind a place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.feed.consumer import NAME, LeaseLost, Place, commit, held_for, windows_behind
from app.core.feed.cursor import Cursor, Tick
from app.core.feed.snapshot import Snapshot
from app.core.feed.window import Epoch, beginning_of

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def tick(id: int, *, epoch: int = 0) -> Tick:
    return Tick(id, epoch, 1000 + id, 10 * id, Snapshot(10 * id, 10 * id))


BEGIN, FIRST, SECOND = Cursor(tick(1)), Cursor(tick(1), tick(2), 15), Cursor(tick(1), tick(2), 18)
END, BEYOND = Cursor(tick(2)), Cursor(tick(3))
FREE = Place(BEGIN)
HELD = replace(FREE, lease="mine", leased_until=NOW + MINUTE, page=END)


@pytest.mark.parametrize(
    ("place", "lease", "now", "seconds"),
    [
        (FREE, "mine", NOW, None),
        (HELD, "other", NOW, 60.0),
        (HELD, "mine", NOW, None),
        (HELD, "other", NOW + MINUTE, None),
        (HELD, "other", NOW + MINUTE * 2, None),
    ],
)
def test_one_reads_at_a_time(place: Place, lease: str, now: datetime, seconds: float | None) -> None:
    assert held_for(place, lease, now) == seconds


@pytest.mark.parametrize(("cursor", "to"), [(None, END), (END, END), (FIRST, FIRST), (SECOND, SECOND), (BEGIN, BEGIN)])
def test_a_commit_leads_to_what_was_handled(cursor: Cursor | None, to: Cursor) -> None:
    assert commit(HELD, "mine", cursor) == to


def test_a_commit_may_be_repeated() -> None:
    done = Place(FIRST, committed="mine")
    assert commit(done, "mine", FIRST) is None
    assert commit(done, "mine", None) is None
    assert commit(replace(done, lease="next", leased_until=NOW + MINUTE), "mine", None) is None


def test_another_commit_with_the_same_lease_is_refused() -> None:
    with pytest.raises(LeaseLost):
        commit(Place(FIRST, committed="mine"), "mine", SECOND)


@pytest.mark.parametrize(
    "place",
    [
        replace(HELD, lease="other"),  # somebody else has read since
        replace(HELD, lease="other", page=None),
        replace(FREE, committed="other"),  # and has committed
        FREE,  # somebody has moved it
        replace(HELD, page=None),  # nothing has been read yet
    ],
)
def test_a_lease_that_is_lost_commits_nothing(place: Place) -> None:
    for cursor in (None, FIRST):
        with pytest.raises(LeaseLost):
            commit(place, "mine", cursor)


@pytest.mark.parametrize("cursor", [BEYOND, Cursor(tick(0)), Cursor(tick(2), tick(3), 25)])
def test_a_cursor_of_another_page_commits_nothing(cursor: Cursor) -> None:
    with pytest.raises(ValueError, match="no cursor of the page"):
        commit(HELD, "mine", cursor)


def test_a_page_that_begins_within_a_tick_is_committed_from_there_on() -> None:
    assert commit(replace(HELD, cursor=FIRST), "mine", SECOND) == SECOND
    with pytest.raises(ValueError, match="no cursor of the page"):
        commit(replace(HELD, cursor=SECOND), "mine", FIRST)


def test_what_lies_behind_a_place_is_what_a_reader_would_read() -> None:
    assert windows_behind(BEGIN, tick(1), [Epoch(0, 0, 0)]) == []
    (whole,) = windows_behind(BEGIN, tick(5), [Epoch(0, 0, 0)])
    assert (whole.began, whole.upto, whole.above) == (10, tick(5).snapshot, 0)
    part, rest = windows_behind(FIRST, tick(5), [Epoch(0, 0, 0)])
    assert (part.began, part.upto, part.above) == (10, tick(2).snapshot, 15)
    assert (rest.began, rest.upto, rest.above) == (20, tick(5).snapshot, 0)


def test_a_place_of_a_former_history_is_read_to_its_end_first() -> None:
    epochs = [Epoch(0, 0, 0), Epoch(1, 3, 30)]
    old, new = windows_behind(BEGIN, tick(5, epoch=1), epochs)
    assert (old.began, old.upto, old.most) == (10, None, 30)
    assert (new.began, new.above) == (beginning_of(epochs[1]).snapshot.xmax, 30)
    assert windows_behind(Cursor(tick(4)), tick(5, epoch=1), epochs) == []  # of a future that was lost


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("billing", True),
        ("a-1_B", True),
        ("", False),
        (".", False),
        ("a/b", False),
        ("-a", False),
        ("a" * 64, True),
        ("a" * 65, False),
    ],
)
def test_names_stand_in_paths(name: str, good: bool) -> None:
    assert bool(NAME.fullmatch(name)) is good
