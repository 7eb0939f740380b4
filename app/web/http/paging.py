"""Lists: ?limit= and ?cursor=, answered as {"data": [...], "next_cursor": ...}."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from app.core.problem import invalid
from app.web.http.fields import Field

DEFAULT, MOST = 50, 250
LIMIT = Field("limit", "integer", f"how many at most (default {DEFAULT})", least=1, most=MOST)
CURSOR = Field("cursor", "text", "next_cursor of the previous page", shortest=1, longest=200)
PAGE = (LIMIT, CURSOR)

T = TypeVar("T")


def limit_of(args: Mapping[str, Any]) -> int:
    """How many rows to answer."""
    return int(args.get("limit", DEFAULT))


def after_cursor(args: Mapping[str, Any], is_mark: Callable[[str], bool]) -> str | None:
    """The mark of the last row of the previous page, None at the start. Raises Problem for a cursor we never made."""
    if "cursor" not in args:
        return None
    try:
        mark = urlsafe_b64decode(args["cursor"].encode("ascii") + b"==").decode("ascii")
    except (binascii.Error, UnicodeError):
        mark = ""
    if not is_mark(mark):
        raise invalid("cursor", "must be the next_cursor of the previous page, unchanged; leave it out to start")
    return mark


def encode(mark: str) -> str:
    """A cursor that holds the mark of the last row of a page."""
    return urlsafe_b64encode(mark.encode()).decode().rstrip("=")


def split(rows: Sequence[T], limit: int, mark_of: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Of up to limit + 1 rows: those of this page, and the cursor of the next or None."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode(mark_of(rows[limit - 1]))


def page(rows: Sequence[T], limit: int, mark_of: Callable[[T], str], shown: Callable[[T], Any]) -> dict[str, Any]:
    """The list object for up to limit + 1 rows."""
    kept, cursor = split(rows, limit, mark_of)
    return {"data": [shown(row) for row in kept], "next_cursor": cursor}
