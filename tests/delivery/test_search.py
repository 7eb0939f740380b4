"""The delivery log's filters, alone and in twos, held against a plain reading of every row; and its pages."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from app.core import ids
from app.core.event.filters import matches
from app.database.connection import Database
from app.delivery import browsing, search
from app.delivery.search import Filters, log_page
from app.settings import Settings
from tests.delivery.world import World

STATUSES = ("pending", "delivered", "failed", "cancelled")
OUTCOMES = (("success", 200), ("http_error", 404), ("http_error", 503), ("timeout", None), ("dns_error", None))
TYPES = ("call.started", "call.ended", "bot_status")

ATTEMPT = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  status_code, trigger)
SELECT %(id)s, %(at)s, workspace_id, endpoint_id, id, %(number)s, %(at)s, 12, %(outcome)s, %(code)s, 'schedule'
FROM deliveries WHERE id = %(delivery)s
"""


@dataclass(frozen=True)
class Known:
    """A delivery of the test's, and its attempts as (id, outcome, code)."""

    id: str
    workspace: str
    endpoint: str
    event: str
    stream: str
    type: str
    status: str
    created_at: datetime
    attempts: tuple[tuple[str, str, int | None], ...]


@dataclass
class Log:
    """Some deliveries of two workspaces."""

    database: Database
    known: list[Known]

    def found(self, filters: Filters, limit: int = 7) -> list[str]:
        """The ids of all pages: of attempts where the filters ask for them, else of deliveries."""
        shown: list[str] = []
        before = None
        for _ in range(200):
            with self.database.begin() as connection:
                page = log_page(connection, filters, limit=limit, before=before)
            assert len(page.rows) <= limit
            shown += [row.attempt_id if filters.of_attempts else row.id for row in page.rows]
            before = page.cursor
            if before is None:
                return shown
        raise AssertionError("the log does not end")

    def expected(self, filters: Filters) -> list[str]:
        """The same by looking at everything."""
        fitting = [one for one in self.known if fits(one, filters)]
        if not filters.of_attempts:
            return sorted((one.id for one in fitting), reverse=True)
        return sorted((a[0] for one in fitting for a in one.attempts if attempt_fits(a, filters)), reverse=True)


def fits(one: Known, filters: Filters) -> bool:
    pairs = (
        (filters.workspace, one.workspace),
        (filters.endpoint, one.endpoint),
        (filters.event, one.event),
        (filters.stream, one.stream),
        (filters.status, one.status),
    )
    moment_of = (lambda: True) if filters.of_attempts else (lambda: within(one.created_at, filters))
    return (
        all(wanted is None or wanted == has for wanted, has in pairs)
        and (filters.event_type is None or matches([filters.event_type], None, type=one.type, kind=""))
        and moment_of()
        and (not filters.asks_of_attempts or any(attempt_fits(a, filters) for a in one.attempts))
    )


def attempt_fits(attempt: tuple[str, str, int | None], filters: Filters) -> bool:
    id, outcome, code = attempt
    return (
        (filters.outcome is None or filters.outcome == outcome)
        and (filters.status_class is None or (code is not None and code // 100 == filters.status_class))
        and (not filters.of_attempts or within(ids.created_at_of(id), filters))
    )


def within(moment: datetime, filters: Filters) -> bool:
    return (filters.since is None or moment >= filters.since) and (filters.until is None or moment < filters.until)


@pytest.fixture
def log(world: World, settings: Settings) -> Iterator[Log]:
    """Forty deliveries with up to three attempts each, no two alike."""
    dice = random.Random(7)
    other = World(world.database, settings)
    for one in (world, other):
        for path in ("a", "b"):
            one.endpoint(f"http://127.0.0.1:9/{path}", event_types=["call.*"] if path == "b" else None)
        for number in range(12):
            one.publish(type=TYPES[number % 3], kind="bot" if number % 4 == 0 else "call")
    known = []
    rows = world.sql(
        "SELECT d.*, s.external_id FROM deliveries d JOIN events e ON e.id = d.event_id"
        " JOIN streams s ON s.id = e.stream_id ORDER BY d.id"
    )
    for row in rows:
        status = dice.choice(STATUSES)
        if status != "pending":
            world.end(status, row.id)
        attempts = []
        for number in range(dice.randint(0, 3)):
            outcome, code = dice.choice(OUTCOMES)
            at = row.created_at + timedelta(seconds=dice.randint(0, 9), milliseconds=dice.randint(0, 999))
            id = ids.make(ids.ATTEMPT, at, dice.randbytes(10))
            values = {"id": id, "at": at, "number": number + 1, "outcome": outcome, "code": code, "delivery": row.id}
            world.sql(ATTEMPT, **values)
            attempts.append((id, outcome, code))
        known.append(
            Known(row.id, row.workspace_id, row.endpoint_id, row.event_id, row.external_id, row.event_type, status,
                  row.created_at, tuple(attempts))
        )  # fmt: skip
    yield Log(world.database, known)
    other.close()


CHOICES: dict[str, Callable[[Log], Any]] = {
    "workspace": lambda log: log.known[0].workspace,
    "endpoint": lambda log: log.known[1].endpoint,
    "event": lambda log: log.known[2].event,
    "stream": lambda log: log.known[3].stream,
    "status:pending": lambda log: "pending",
    "status:delivered": lambda log: "delivered",
    "status:failed": lambda log: "failed",
    "status:cancelled": lambda log: "cancelled",
    "event_type:exact": lambda log: "call.ended",
    "event_type:prefix": lambda log: "call.*",
    "outcome:success": lambda log: "success",
    "outcome:timeout": lambda log: "timeout",
    "outcome:http_error": lambda log: "http_error",
    "status_class:2": lambda log: 2,
    "status_class:4": lambda log: 4,
    "status_class:5": lambda log: 5,
    "since": lambda log: log.known[10].created_at,
    "until": lambda log: log.known[25].created_at,
}


def test_every_filter_alone_and_in_twos_finds_what_fits_page_by_page_and_nothing_else(log: Log) -> None:
    names = list(CHOICES)
    pairs = [(), *((name,) for name in names), *itertools.combinations(names, 2)]
    some = 0
    for chosen in pairs:
        if len({name.partition(":")[0] for name in chosen}) < len(chosen):
            continue
        filters = Filters(**{name.partition(":")[0]: CHOICES[name](log) for name in chosen})
        expected = log.expected(filters)
        assert log.found(filters) == expected, chosen
        some += bool(expected)
    assert some > 100


def test_where_the_window_ends_the_page_says_so_and_goes_on(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WINDOW", 5)
    monkeypatch.setattr(search, "JOINED_WINDOW", 5)
    with log.database.begin() as connection:
        page = log_page(connection, Filters(event_type="nothing"), limit=3)
    assert (page.rows, page.cursor, page.searched_to) == ([], log.known[-5].id, log.known[-5].created_at)
    for filters in (
        Filters(event_type="bot_status"),
        Filters(status="delivered"),
        Filters(outcome="timeout", status="failed"),
        Filters(status_class=5, event_type="call.*"),
    ):
        assert log.found(filters, limit=3) == log.expected(filters)


def test_a_row_says_whose_it_is_and_how_its_last_attempt_ended(log: Log) -> None:
    one = next(one for one in log.known if len(one.attempts) == 3)
    with log.database.begin() as connection:
        (row,) = search.rows_of(connection, [(one.id, None)])
        (first,) = search.rows_of(connection, [(one.id, one.attempts[0][0])])
        attempts = search.attempts_of(connection, one.id)
    assert (row.workspace_name, row.url[:19], row.number) == ("Test", "http://127.0.0.1:9/", 3)
    assert (row.stream_id, row.event_type) == (one.stream, one.type)
    assert (first.number, first.outcome) == (1, one.attempts[0][1])
    assert [attempt.number for attempt in attempts] == [1, 2, 3]


def test_what_comes_in_live_is_let_through_by_the_same_filters(log: Log) -> None:
    with log.database.begin() as connection:
        rows = search.rows_of(connection, [(one.id, None) for one in log.known])
    for name, choose in CHOICES.items():
        field = name.partition(":")[0]
        if field in ("since", "until"):
            continue
        filters = Filters(**{field: choose(log)})
        for one, row in zip(log.known, rows, strict=True):
            last = one.attempts[-1:] if filters.asks_of_attempts else ()
            expected = fits(one, filters) if not last else attempt_fits(last[0], filters)
            if filters.asks_of_attempts and not last:
                expected = False
            assert filters.let_through(row) == expected, (name, row)


@pytest.mark.parametrize("word", ["failed' OR true --", "", "é", "a b"])
def test_nothing_but_a_word_goes_into_a_statement(log: Log, word: str) -> None:
    with log.database.begin() as connection, pytest.raises(ValueError, match="not a status"):
        log_page(connection, Filters(status=word), limit=1)


def test_an_id_or_a_name_is_found(log: Log) -> None:
    one = next(one for one in log.known if one.attempts)
    with log.database.begin() as connection:
        uid = connection.exec_driver_sql("SELECT uid FROM workspaces LIMIT 1").scalar_one()
        assert browsing.find(connection, one.id) == [("deliveries", one.id)]
        assert browsing.find(connection, one.attempts[0][0]) == [("deliveries", one.id)]
        assert browsing.find(connection, one.event) == [("events", one.event)]
        assert browsing.find(connection, uid) == [("workspaces", uid)]
        assert len(browsing.find(connection, "Test")) == 2
        assert {found[0] for found in browsing.find(connection, one.stream)} == {"streams"}
        assert browsing.find(connection, "no such thing") == []
        assert browsing.find(connection, "att_01k00000000000000000000000") == []


def test_what_waits_in_other_workspaces_is_not_read(world: World) -> None:
    world.endpoint("http://127.0.0.1:9/")
    world.publish(30)
    asked: list[tuple[str, Any]] = []

    def listen(connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        asked.append((statement, values))

    event.listen(world.database.engine, "before_cursor_execute", listen)
    with world.database.begin() as connection:
        page = log_page(connection, Filters(workspace="ws_" + "0" * ids.LENGTH, status="pending"), limit=10)
        event.remove(world.database.engine, "before_cursor_execute", listen)
        (statement, values), *_ = [one for one in asked if "FROM due" in one[0]]
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT json) {statement}", values).scalar_one()
    assert page.rows == []
    assert [node["Actual Rows"] for node in nodes(plan["Plan"]) if node.get("Relation Name") == "due"] == [0]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's steps."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
