"""Times as callers write them: RFC 3339 text, read strictly."""

from __future__ import annotations

import re
from datetime import UTC, datetime

TIME_HINT = "must be an RFC 3339 time with its offset, such as 2026-11-20T10:00:00.123Z"

_TWO = "[0-9]{2}"
TIME = re.compile(rf"[0-9]{{4}}-{_TWO}-{_TWO}[Tt ]{_TWO}:{_TWO}:{_TWO}(\.[0-9]{{1,30}})?([Zz]|[+-]{_TWO}:{_TWO})")


def read_time(text: str) -> datetime:
    """RFC 3339 text (section 5.6) as an aware UTC datetime, to the microsecond. Raises ValueError."""
    if not TIME.fullmatch(text):  # fromisoformat takes week dates, any separator and more
        raise ValueError("not an RFC 3339 time with its offset")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("the year is out of range") from None
