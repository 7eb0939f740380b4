"""Times on the command line: RFC 3339, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from app.core.times import read_time

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
AGO = re.compile(r"([0-9]{1,6})([smhdw])")
HINT = "give a time such as 2026-11-20T10:00:00Z, or how long ago, such as 30m, 2h or 7d"


def moment(text: str, now: datetime) -> str:
    """RFC 3339 text for a time, or for how long before `now`. Raises ValueError."""
    if match := AGO.fullmatch(text):
        ago = timedelta(seconds=int(match[1]) * UNITS[match[2]])
        return (now - ago).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    read_time(text)
    return text


def place(text: str) -> str:
    """A place in the feed as the API takes it: how long ago becomes a time, everything else stays what it is."""
    return moment(text, datetime.now(UTC)) if AGO.fullmatch(text) else text


class _Moment(click.ParamType[str]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """RFC 3339 text. Fails as a wrong argument does."""
        try:
            return moment(value, datetime.now(UTC))
        except (ValueError, OverflowError):
            self.fail(HINT, param, ctx)


MOMENT = _Moment()
