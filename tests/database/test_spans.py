"""Times beyond those that ids can name mean the first and the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.core import ids
from app.database.spans import FIRST, LAST, within

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


@pytest.mark.parametrize("early", [EARLIEST, datetime.min.replace(tzinfo=EAST), FIRST - timedelta(microseconds=1)])
@pytest.mark.parametrize("late", [LATEST, datetime.max.replace(tzinfo=WEST), LAST + timedelta(seconds=1)])
def test_every_row_is_between_the_earliest_time_and_the_latest(early: datetime, late: datetime) -> None:
    values: dict[str, Any] = {}
    within("d", ids.DELIVERY, values, since=early, until=late, before=None)
    assert (values["since"], values["until"]) == (FIRST, LAST)
    made = ids.make(ids.DELIVERY, datetime(2026, 11, 21, tzinfo=UTC), b"0123456789")
    assert values["since_id"] < made < values["until_id"]


def test_no_row_is_before_the_earliest_time_or_after_the_latest() -> None:
    values: dict[str, Any] = {}
    within("d", ids.DELIVERY, values, since=LATEST, until=EARLIEST, before=None)
    made = ids.make(ids.DELIVERY, datetime(2026, 11, 21, tzinfo=UTC), b"0123456789")
    assert values["until_id"] < made < values["since_id"]
