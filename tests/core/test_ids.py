"""Ids sort by time, carry their row's creation time, and are told from everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.core import ids

MOMENT = datetime(2026, 11, 20, 10, 0, 0, 123_456, UTC)
ZEROS, ONES = b"\0" * 10, b"\xff" * 10


def test_the_layout_is_that_of_a_ulid() -> None:
    # The example of the ULID specification's own README: 1469918176385 ms is 01ARYZ6S41.
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1469918176385)
    assert ids.make("evt", moment, ZEROS) == "evt_01aryz6s410000000000000000"
    assert ids.make("evt", moment, ONES) == "evt_01aryz6s41zzzzzzzzzzzzzzzz"


def test_an_id_carries_its_creation_time_in_milliseconds() -> None:
    for prefix in (ids.EVENT, ids.ENDPOINT, ids.DELIVERY, ids.ATTEMPT, ids.WORKSPACE, ids.KEY, ids.TOKEN):
        made = ids.make(prefix, MOMENT, ONES)
        assert ids.is_id(prefix, made)
        assert ids.created_at_of(made) == ids.truncate(MOMENT) == datetime(2026, 11, 20, 10, 0, 0, 123_000, UTC)


def test_another_time_zone_is_the_same_moment() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert ids.make("evt", elsewhere, ZEROS) == ids.make("evt", MOMENT, ZEROS)


def test_ids_sort_by_time_whatever_the_random_part() -> None:
    moments = [MOMENT + timedelta(milliseconds=step) for step in (0, 1, 2, 31, 32, 1000, 86_400_000, 40 * 86_400_000)]
    made = [ids.make("evt", moment, ONES if index % 2 == 0 else ZEROS) for index, moment in enumerate(moments)]
    assert made == sorted(made)


@pytest.mark.parametrize("length", [0, 9, 11])
def test_random_bytes_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        ids.make("evt", MOMENT, b"x" * length)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "evt",
        "evt_",
        "01aryz6s410000000000000000",
        "ep_01aryz6s410000000000000000",  # another prefix
        "evt_01aryz6s41000000000000000",  # one short
        "evt_01aryz6s4100000000000000000",  # one more
        "evt_81aryz6s410000000000000000",  # more than 128 bits
        "evt_01ARYZ6S410000000000000000",
        "evt_01aryz6s41000000000000000i",  # i, l, o, u are no letters of it
        "evt_01aryz6s41000000000000000\n",
        "evt_01aryz6s41000000000000000é",
        "evt_٠1aryz6s410000000000000000",  # an Arabic-Indic zero
        "evt_01aryz6s41_00000000000000",
        " evt_01aryz6s410000000000000000",
    ],
)
def test_what_is_no_id_of_an_event(text: str) -> None:
    assert not ids.is_id("evt", text)


@pytest.mark.parametrize("text", ["", "evt_", "evt_1", "evt_81aryz6s410000000000000000", "évt_x"])
def test_no_time_is_read_from_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        ids.created_at_of(text)


def test_an_id_of_the_year_10889_is_well_formed_and_names_no_row() -> None:
    assert ids.is_id("evt", "evt_" + "7" + "z" * 25)
    with pytest.raises(ValueError, match="not an id of this era"):
        ids.created_at_of("evt_" + "7" + "z" * 25)
