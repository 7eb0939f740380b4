"""Times on the command line: RFC 3339, or how long ago."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.cli.moment import moment

NOW = datetime(2026, 11, 20, 10, 0, 0, 123000, UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("30s", "2026-11-20T09:59:30.123Z"),
        ("5m", "2026-11-20T09:55:00.123Z"),
        ("2h", "2026-11-20T08:00:00.123Z"),
        ("7d", "2026-11-13T10:00:00.123Z"),
        ("1w", "2026-11-13T10:00:00.123Z"),
        ("2026-11-20T10:00:00+01:00", "2026-11-20T10:00:00+01:00"),
    ],
)
def test_a_time_or_how_long_ago(text: str, found: str) -> None:
    assert moment(text, NOW) == found


@pytest.mark.parametrize("text", ["", "yesterday", "2 h", "2H", "-2h", "2026-11-20", "99999999d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        moment(text, NOW)
