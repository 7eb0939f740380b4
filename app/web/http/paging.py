"""Lists: ?limit= and ?cursor=, answered as {"data": [...], "next_cursor": ...}."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from app.core import ids
from app.core.problem import invalid
from app.core.wire.envelope import rfc3339
from app.web.http.fields import Field

DEFAULT, MOST = 50, 250
LIMIT = Field("limit", "integer", f"how many at most (default {DEFAULT})", least=1, most=MOST)
CURSOR = Field(
    "cursor",
    "text",
    "next_cursor of the previous page",
    shortest=1,
    longest=200,
    shape={"format": "cursor", "pattern": "^[A-Za-z0-9_-]+$"},
)
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


def is_number(mark: str) -> bool:
    """Whether a mark is a number that PostgreSQL's bigint holds."""
    return mark.isascii() and mark.isdigit() and len(mark) < 19


def encode(mark: str) -> str:
    """A cursor that holds the mark of the last row of a page."""
    return urlsafe_b64encode(mark.encode()).decode().rstrip("=")


def page(rows: Sequence[T], limit: int, mark_of: Callable[[T], str], shown: Callable[[T], Any]) -> dict[str, Any]:
    """The list object for up to limit + 1 rows; one more than the limit means that there is a next page."""
    cursor = encode(mark_of(rows[limit - 1])) if len(rows) > limit else None
    return {"data": [shown(row) for row in rows[:limit]], "next_cursor": cursor}


def searched(rows: Sequence[Any], cursor: str | None, searched_to: datetime | None) -> dict[str, Any]:
    """The list object of a page that looks at so many rows at most. cursor: None at the end; searched_to: how far it
    has looked, where it ended before it was full."""
    made = {"data": rows, "next_cursor": None if cursor is None else encode(cursor)}
    return made if searched_to is None else made | {"searched_to": rfc3339(searched_to)}


def newest_first(
    args: Mapping[str, Any], prefix: str, read: Callable[..., Sequence[T]], shown: Callable[[T], dict[str, Any]]
) -> dict[str, Any]:
    """The list object of things that are listed newest first, which is the order of their ids.

    prefix: of the ids. read: takes limit and before, gives at most `limit` rows, those older than the id `before` where
    it is not None. shown: a row as the API shows it, with its id. Raises Problem for a cursor that we never made.
    """
    limit = limit_of(args)
    before = after_cursor(args, lambda mark: ids.is_id(prefix, mark))
    rows = read(limit=limit + 1, before=before)
    return page(rows, limit, lambda row: str(shown(row)["id"]), shown)
