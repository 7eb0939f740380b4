"""The delivery log for people, across workspaces: pages by any filters, and the rows that they show.

Every question is bounded. One index drives it; the other filters are applied to a window of so many rows, and where
the window ends before the page is full, the page says how far it has looked and its cursor goes on from there. A filter
on attempts (an outcome, a class of status codes) is driven by the attempts, so that each row is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.core import ids
from app.core.event.filters import like_patterns, matches
from app.database.spans import within

WINDOW = 10_000  # deliveries or attempts that one page looks at: some tens of milliseconds
JOINED_WINDOW = 1_000  # attempts whose deliveries have to be looked at, too
STREAM_EVENTS = 1_000  # the newest of a stream, whose deliveries a page looks at: each in several partitions
MOST_STREAMS = 20  # of one name: other workspaces, other kinds
MOST_ATTEMPTS = 200  # of one delivery; a schedule has eleven
PENDING_STATUS, SUCCESS = "pending", "success"
_ENDED_BADLY = ("failed", "cancelled")

# A page of deliveries, newest first: the window, and of it what the other filters let through; each with the last
# attempt that the filters ask for, if they do.
DELIVERIES = """
SELECT d.id, {attempt} AS attempt_id FROM (
  SELECT * FROM {source} d WHERE {narrow} ORDER BY d.id DESC LIMIT %(window)s
) AS d WHERE {rest} ORDER BY d.id DESC LIMIT %(limit)s
"""

# A page of attempts, newest first, likewise.
ATTEMPTS = """
SELECT a.delivery_id AS id, a.id AS attempt_id FROM (
  SELECT * FROM {source} a WHERE {narrow} ORDER BY a.id DESC LIMIT %(window)s
) AS a WHERE {rest} ORDER BY a.id DESC LIMIT %(limit)s
"""

# How far a window reaches: how many rows it has, and the last of them.
REACH = """
SELECT count(*) AS looked, min(id) AS last FROM (
  SELECT {alias}.id FROM {source} {alias} WHERE {narrow} ORDER BY {alias}.id DESC LIMIT %(window)s
) AS w
"""

# PostgreSQL takes a class of status codes or a state for rare, and would fetch and sort all of it where a window in the
# order of the index is enough.
IN_ORDER = "SET LOCAL enable_bitmapscan = off"

# What waits, a window of it: `due` has these, mostly few, and nothing else.
PENDING = """(SELECT pending.* FROM (
  SELECT d.id, d.created_at FROM (SELECT delivery_id AS id, created_at, workspace_id, endpoint_id FROM due) AS d
  WHERE {narrow} ORDER BY d.id DESC LIMIT %(window)s
) AS d JOIN deliveries pending ON pending.id = d.id AND pending.created_at = d.created_at)"""

# The deliveries of some events, those of the newest first, a window of them. OFFSET keeps PostgreSQL from walking
# through the whole log in order and asking of each delivery whether it is of one of these events.
OF_EVENTS = """(SELECT d.* FROM unnest(%(events)s::text[], %(event_times)s::timestamptz[])
  WITH ORDINALITY AS asked (id, created_at, place)
CROSS JOIN LATERAL (
  SELECT * FROM deliveries d
  WHERE d.event_id = asked.id AND d.created_at >= asked.created_at - interval '1 min' AND {narrow} OFFSET 0
) AS d LIMIT %(window)s)"""

# The newest events of the streams of this name.
EVENTS_OF_STREAM = f"""
SELECT e.id, e.created_at FROM (
  SELECT * FROM streams s
  WHERE s.external_id = %(stream)s AND (%(workspace)s::text IS NULL OR s.workspace_id = %(workspace)s)
    AND (%(kind)s::text IS NULL OR s.kind = %(kind)s)
  ORDER BY s.id DESC LIMIT {MOST_STREAMS}
) AS s CROSS JOIN LATERAL (
  SELECT e.id, e.created_at FROM events e
  WHERE e.stream_id = s.id AND e.seq > s.last_seq - {STREAM_EVENTS} AND e.created_at >= s.created_at - interval '1 min'
) AS e ORDER BY e.created_at DESC LIMIT {STREAM_EVENTS}
"""

# What the log shows of some deliveries, in the order in which they were asked for: each with its customer, its
# endpoint, its stream, and the attempt that was asked for, else its last.
ROWS = """
SELECT d.id, d.created_at, d.workspace_id, w.name AS workspace_name, d.endpoint_id, e.url, d.event_id, d.event_type,
  d.event_created_at, d.status, d.reason, d.attempt_count, d.window_started_at, d.deadline_at, d.finished_at, d.trigger,
  s.kind AS stream_kind, s.external_id AS stream_id, a.id AS attempt_id, a.number, a.outcome, a.status_code, a.error,
  a.duration_ms, a.started_at, a.remote_address, a.trigger AS attempt_trigger,
  a.batch_size, a.batch_position
FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(attempts)s::text[])
  WITH ORDINALITY AS asked (id, created_at, attempt, place)
JOIN deliveries d ON d.id = asked.id AND d.created_at = asked.created_at
LEFT JOIN workspaces w ON w.id = d.workspace_id
LEFT JOIN endpoints e ON e.id = d.endpoint_id
LEFT JOIN events v ON v.id = d.event_id AND v.created_at = d.event_created_at
LEFT JOIN streams s ON s.id = v.stream_id
LEFT JOIN LATERAL (
  SELECT * FROM attempts a
  WHERE a.delivery_id = d.id AND a.created_at >= d.created_at - interval '1 min'
    AND a.created_at <= coalesce(d.finished_at, now()) + interval '1 hour'
    AND (asked.attempt IS NULL OR a.id = asked.attempt)
  ORDER BY a.number DESC, a.id DESC LIMIT 1
) AS a ON true
ORDER BY asked.place
"""

# The attempts of a delivery, first to last. None was made before it, but clocks may differ a little.
ATTEMPTS_OF_DELIVERY = f"""
SELECT * FROM (
  SELECT * FROM attempts WHERE delivery_id = %(id)s AND created_at >= %(time)s::timestamptz - interval '1 min'
  ORDER BY number DESC, id DESC LIMIT {MOST_ATTEMPTS}
) AS a ORDER BY number, id
"""

# Conditions on a delivery d (or an attempt a, where both have the column).
_HAS_ENDED_BADLY = "d.status IN ('failed', 'cancelled')"  # as the partial indexes have it
_TYPE = "d.event_type LIKE ANY (%(types)s::text[])"
# LIMIT: looked up for each row. As EXISTS, PostgreSQL may read all attempts of the last weeks once instead.
_OF_ATTEMPT = """(SELECT x.id FROM attempts x
  WHERE x.delivery_id = d.id AND x.created_at >= d.created_at - interval '1 min'
    AND x.created_at <= coalesce(d.finished_at, now()) + interval '1 hour' AND {outcome}
  ORDER BY x.number DESC, x.id DESC LIMIT 1)"""
_OF_DELIVERY = """(SELECT true FROM deliveries d
  WHERE d.id = a.delivery_id AND d.created_at <= a.created_at + interval '1 min' AND {conditions} LIMIT 1)"""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the log is narrowed by; None for what it is not. status_class: 2 for 2xx, and so on.

    stream: a stream's own id; stream_kind: its kind, together with it. status: one or several, joined by commas.
    event_type: a type, or a prefix such as `call.*`. since, until: of a delivery's creation, or of an attempt's where
    each row is one; the latter excluded.
    """

    workspace: str | None = None
    endpoint: str | None = None
    event: str | None = None
    stream: str | None = None
    status: str | None = None
    event_type: str | None = None
    outcome: str | None = None
    status_class: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    stream_kind: str | None = None
    status_code: int | None = None

    @property
    def statuses(self) -> tuple[str, ...]:
        """The states that are let through; none for every one."""
        return () if self.status is None else tuple(self.status.split(","))

    @property
    def code_class(self) -> int | None:
        """The class of status codes: status_class, or that of status_code."""
        return self.status_class if self.status_code is None else self.status_code // 100

    @property
    def of_attempts(self) -> bool:
        """Whether each row is an attempt rather than a delivery."""
        return self.asks_of_attempts and self.event is None and self.stream is None

    @property
    def asks_of_attempts(self) -> bool:
        """Whether an attempt decides what is shown."""
        return self.outcome is not None or self.code_class is not None

    def let_through(self, row: Row[Any]) -> bool:
        """Whether a row of ROWS belongs to this view: for what comes in live. Times are not looked at."""
        equal = (
            (self.workspace, row.workspace_id),
            (self.endpoint, row.endpoint_id),
            (self.event, row.event_id),
            (self.stream, row.stream_id),
            (self.stream_kind, row.stream_kind),
            (self.outcome, row.outcome),
            (self.status_code, row.status_code),
            (self.status_class, None if row.status_code is None else row.status_code // 100),
        )
        return (
            all(wanted is None or wanted == found for wanted, found in equal)
            and (self.status is None or row.status in self.statuses)
            and (self.event_type is None or matches([self.event_type], None, type=row.event_type, kind=""))
        )


@dataclass(frozen=True, slots=True)
class LogPage:
    """rows: of ROWS. cursor: the id to go on before, None at the end. searched_to: how far the page has looked, where
    it ended before it was full."""

    rows: Sequence[Row[Any]]
    cursor: str | None = None
    searched_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a page is found. attempt: what a row says of the attempt that was asked for, where it is a delivery."""

    statement: str
    alias: str
    source: str
    narrow: str
    rest: str
    values: dict[str, Any]
    attempt: str = "NULL"


def log_page(connection: Connection, filters: Filters, *, limit: int, before: str | None = None) -> LogPage:
    """A page of the log, newest first. before: the cursor of the page before it, of the same filters."""
    connection.exec_driver_sql(IN_ORDER)
    plan = _plan(connection, filters, before)
    if plan is None:
        return LogPage([])
    parts = {"source": plan.source, "narrow": plan.narrow, "rest": plan.rest}
    statement = plan.statement.format(**parts, attempt=plan.attempt)
    found = connection.exec_driver_sql(statement, {**plan.values, "limit": limit + 1}).all()
    cursor, searched_to = None, None
    if len(found) > limit:
        found = found[:limit]
        cursor = found[-1].attempt_id if filters.of_attempts else found[-1].id
    else:
        statement = REACH.format(alias=plan.alias, source=plan.source, narrow=plan.narrow)
        reach = connection.exec_driver_sql(statement, plan.values).one()
        if reach.looked >= plan.values["window"]:
            cursor, searched_to = reach.last, ids.created_at_of(reach.last)
    return LogPage(rows_of(connection, [(row.id, row.attempt_id) for row in found]), cursor, searched_to)


def rows_of(connection: Connection, wanted: Sequence[tuple[str, str | None]]) -> Sequence[Row[Any]]:
    """What the log shows of (delivery id, attempt id or None for its last), in this order. Absent ones are left out."""
    if not wanted:
        return []
    values = {
        "ids": [delivery for delivery, _ in wanted],
        "times": [ids.created_at_of(delivery) for delivery, _ in wanted],
        "attempts": [attempt for _, attempt in wanted],
    }
    return connection.exec_driver_sql(ROWS, values).all()


def attempts_of(connection: Connection, delivery_id: str) -> Sequence[Row[Any]]:
    """The attempts of a delivery, first to last, with responses; the last MOST_ATTEMPTS."""
    values = {"id": delivery_id, "time": ids.created_at_of(delivery_id)}
    return connection.exec_driver_sql(ATTEMPTS_OF_DELIVERY, values).all()


def _plan(connection: Connection, filters: Filters, before: str | None) -> _Plan | None:
    """How a page is found; None when nothing can be."""
    values: dict[str, Any] = {"window": WINDOW, "kind": filters.stream_kind}
    if filters.event_type is not None:
        values["types"] = like_patterns([filters.event_type])
    for name in ("workspace", "endpoint", "event"):
        values[name] = getattr(filters, name)
    if filters.of_attempts:
        return _attempts_plan(filters, values, before)
    narrow: list[str] = []
    rest: list[str] = []
    if filters.stream is not None:
        events = connection.exec_driver_sql(EVENTS_OF_STREAM, {**values, "stream": filters.stream}).all()
        if not events:
            return None
        values |= {"events": [row.id for row in events], "event_times": [row.created_at for row in events]}
    if filters.event is not None:
        values["event_at"] = ids.created_at_of(filters.event)
        narrow.append("d.event_id = %(event)s AND d.created_at >= %(event_at)s")
    is_of_few = filters.stream is not None or filters.event is not None
    if filters.endpoint is not None:
        (rest if is_of_few else narrow).append("d.endpoint_id = %(endpoint)s")
    if filters.workspace is not None:
        (rest if is_of_few else narrow).append("d.workspace_id = %(workspace)s")
    pending_alone = filters.statuses == (PENDING_STATUS,) and not is_of_few
    if filters.status is not None and not pending_alone:
        # As literals, by which PostgreSQL finds the partial indexes; they have neither endpoints nor what went well.
        has_index = set(filters.statuses) <= set(_ENDED_BADLY) and filters.endpoint is None and not is_of_few
        if has_index:
            narrow.append(_HAS_ENDED_BADLY)
        if not has_index or len(set(filters.statuses)) == 1:  # a rare state must not read through all of the other
            rest.append(_of_status(filters))
    if filters.event_type is not None:
        rest.append(_TYPE)
    attempt = "NULL"
    if filters.asks_of_attempts:
        attempt = _OF_ATTEMPT.format(outcome=" AND ".join([*_outcome(filters, "x"), *_code(filters, "x")]))
        rest.append(f"{attempt} IS NOT NULL")
    narrow += within("d", ids.DELIVERY, values, since=filters.since, until=filters.until, before=before)
    if filters.stream is not None:
        return _Plan(DELIVERIES, "d", OF_EVENTS.format(narrow=_all(narrow)), "true", _all(rest), values, attempt)
    if pending_alone:
        return _Plan(DELIVERIES, "d", PENDING.format(narrow=_all(narrow)), "true", _all(rest), values, attempt)
    return _Plan(DELIVERIES, "d", "deliveries", _all(narrow), _all(rest), values, attempt)


def _attempts_plan(filters: Filters, values: dict[str, Any], before: str | None) -> _Plan:
    narrow: list[str] = []
    rest: list[str] = []
    of_delivery: list[str] = []
    has_index = filters.endpoint is None and filters.outcome != SUCCESS and filters.code_class != 2
    (narrow if has_index else rest).extend(_outcome(filters, "a"))
    rest += _code(filters, "a")  # the index has classes of codes only: a rare code must not read through all of them
    if filters.endpoint is not None:
        narrow.append("a.endpoint_id = %(endpoint)s")
    if filters.workspace is not None:
        rest.append("a.workspace_id = %(workspace)s")
    if filters.status is not None:
        of_delivery.append(_of_status(filters))
    if filters.event_type is not None:
        of_delivery.append(_TYPE)
    if of_delivery:
        values["window"] = JOINED_WINDOW
        rest.append(_OF_DELIVERY.format(conditions=" AND ".join(of_delivery)))
    narrow += within("a", ids.ATTEMPT, values, since=filters.since, until=filters.until, before=before)
    return _Plan(ATTEMPTS, "a", "attempts", _all(narrow), _all(rest), values)


def _outcome(filters: Filters, alias: str) -> list[str]:
    """Conditions on an attempt, in the words of the partial indexes."""
    conditions = []
    if filters.outcome is not None:
        conditions.append(f"{alias}.outcome = '{_word(filters.outcome)}'")
    if filters.code_class == 2:  # an attempt that is answered so is a success, and the other way round
        conditions.append(f"{alias}.outcome = 'success'")
    elif filters.code_class is not None:
        conditions.append(f"{alias}.outcome = 'http_error' AND ({alias}.status_code / 100) = {filters.code_class:d}")
    return conditions


def _code(filters: Filters, alias: str) -> list[str]:
    """The condition on an attempt's very status code."""
    return [] if filters.status_code is None else [f"{alias}.status_code = {filters.status_code:d}"]


def _of_status(filters: Filters) -> str:
    """The condition on a delivery's state."""
    words = ", ".join(f"'{_word(status)}'" for status in filters.statuses)
    return f"d.status IN ({words})"


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"


def _word(text: str) -> str:
    """A status or an outcome, which goes into a statement as it is. Raises ValueError for anything else."""
    if not text.isascii() or not text.replace("_", "").isalpha():
        raise ValueError(f"not a status or an outcome: {text!r}")
    return text
