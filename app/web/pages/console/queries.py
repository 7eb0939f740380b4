"""What a page's address asks for: filters that are forgiving to people, unlike the API's.

An empty filter is none. One that makes no sense is named on the page, which then shows what the others let through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from app.core import ids
from app.core.problem import invalid
from app.core.times import read_time
from app.core.webhook.retry import Outcome
from app.delivery.reads import STATUSES
from app.delivery.search import Filters

PAGE_ROWS = 50
OUTCOMES = tuple(str(outcome) for outcome in Outcome)
CLASSES = ("2xx", "3xx", "4xx", "5xx")
NAMES = ("workspace", "endpoint", "event", "stream", "status", "type", "outcome", "class", "since", "until")
_FIRST, _LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_IDS = {"workspace": ids.WORKSPACE, "endpoint": ids.ENDPOINT, "event": ids.EVENT}
_CHOICES = {"outcome": OUTCOMES, "class": CLASSES}


@dataclass(slots=True)
class Asked:
    """The filters as the address has them. given: by name, those that are not empty. wrong: a sentence for each that
    makes no sense."""

    filters: Filters
    given: dict[str, str]
    before: str | None = None
    wrong: list[str] = field(default_factory=list)

    def without(self, name: str) -> str:
        """The query without one filter, and from the first page."""
        return urlencode({other: value for other, value in self.given.items() if other != name})

    def after(self, cursor: str) -> str:
        """The query of the next page."""
        return urlencode({**self.given, "before": cursor})

    def query(self) -> str:
        """The query as it is, from the first page."""
        return urlencode(self.given)


def log_filters(args: Mapping[str, str], statuses: Collection[str] = STATUSES) -> Asked:
    """The delivery log's filters. statuses: those that make sense."""
    given = {name: args[name].strip() for name in NAMES if args.get(name, "").strip()}
    wrong: list[str] = []
    good = dict(given)
    for name, value in given.items():
        if (problem := _problem(name, value, statuses)) is not None:
            wrong.append(problem)
            del good[name]
    filters = Filters(
        workspace=good.get("workspace"),
        endpoint=good.get("endpoint"),
        event=good.get("event"),
        stream=good.get("stream"),
        status=good.get("status"),
        event_type=good.get("type"),
        outcome=good.get("outcome"),
        status_class=int(good["class"][0]) if "class" in good else None,
        since=moment(good["since"]) if "since" in good else None,
        until=moment(good["until"]) if "until" in good else None,
    )
    prefix = ids.ATTEMPT if filters.of_attempts else ids.DELIVERY
    return Asked(filters, given, id_or_none(args.get("before"), prefix), wrong)


def moment(text: str) -> datetime | None:
    """A time as people and date fields write it: RFC 3339, `2026-11-20T10:00` or `2026-11-20`, in UTC; or `24h`, `7d`
    for so long ago by this machine's clock. None for anything else."""
    found: datetime | None
    try:
        found = read_time(text)
    except ValueError:
        found = _local(text)
    return found if found is not None and _FIRST <= found < _LAST else None


def since(text: str) -> datetime:
    """The time that a form names, as `moment` reads it. Raises Problem invalid for anything else."""
    found = moment(text.strip())
    if found is None:
        raise invalid("since", "write a time such as 2026-11-20T10:00 (UTC), or 24h for a day ago")
    return found


def id_or_none(text: str | None, prefix: str) -> str | None:
    """An id of this kind; None for anything else, which the next page of nothing might be."""
    if text is None or not ids.is_id(prefix, text):
        return None
    try:
        return text if ids.created_at_of(text) < _LAST else None
    except ValueError:
        return None


def number_or_none(text: str | None) -> int | None:
    """A row number in a page's address; None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _local(text: str) -> datetime | None:
    units = {"h": timedelta(hours=1), "d": timedelta(days=1)}
    if text[-1:] in units and text[:-1].isascii() and text[:-1].isdigit() and len(text) < 5:
        return ids.truncate(datetime.now(UTC) - int(text[:-1]) * units[text[-1]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _problem(name: str, value: str, statuses: Collection[str]) -> str | None:
    if name in _IDS and id_or_none(value, _IDS[name]) is None:
        return f"“{value}” is not the id of a {name}; it was left out. Ids begin with {_IDS[name]}_."
    choices = statuses if name == "status" else _CHOICES.get(name)
    if choices is not None and value not in choices:
        return f"“{value}” is no {name}; it was left out."
    if name in ("since", "until") and moment(value) is None:
        return f"“{value}” is not a time; it was left out. Write 2026-11-20T10:00, or 24h for a day ago."
    return None
