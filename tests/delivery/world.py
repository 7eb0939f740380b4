"""A workspace with endpoints and events, real in every part, and a drain to deliver them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from app.accounts.workspaces import create_workspace
from app.core import ids
from app.core.event.acceptance import Accepted
from app.core.event.drafts import Draft
from app.core.problem import Problem
from app.database.connection import Database
from app.database.tables import PARKED
from app.delivery import claims, endpoints
from app.delivery.drain import Drain
from app.delivery.sending.sender import Sender
from app.delivery.wake import Wake
from app.ledger.ledger import Ledger, Submission
from app.settings import Settings
from tests.processes import eventually

LET_PASS = (
    "UPDATE deliveries SET deadline_at = deadline_at - %(span)s::interval,"
    " window_started_at = window_started_at - %(span)s::interval, finished_at = finished_at - %(span)s::interval",
    f"UPDATE due SET due_at = CASE WHEN due_at < '{PARKED}' THEN due_at - %(span)s::interval ELSE due_at END,"
    " leased_until = leased_until - %(span)s::interval,"
    " deadline_at = deadline_at - %(span)s::interval, window_started_at = window_started_at - %(span)s::interval",
    "UPDATE attempts SET started_at = started_at - %(span)s::interval",
    "UPDATE endpoints SET failing_since = failing_since - %(span)s::interval,"
    " disabled_at = disabled_at - %(span)s::interval, updated_at = updated_at - %(span)s::interval,"
    " rate_tat = rate_tat - extract(epoch FROM %(span)s::interval)",
    "UPDATE drain_rounds SET low_water = low_water - %(span)s::interval",
    "UPDATE endpoint_secrets SET expires_at = expires_at - %(span)s::interval",
)

# Deliveries with what `due` says of the pending ones. due_at: when it can be claimed, so after a lease that lasts.
DELIVERIES = """
SELECT d.*, greatest(due.due_at, due.leased_until) AS due_at, due.lease_token, due.claims
FROM deliveries d LEFT JOIN due ON due.delivery_id = d.id
WHERE %(e)s::text IS NULL OR d.endpoint_id = %(e)s ORDER BY d.id
"""

# Where `deliveries` and `due` contradict each other: a pending delivery without a row, a row without a pending
# delivery, or columns that both have and that differ.
CONTRADICTIONS = """
SELECT coalesce(d.id, due.delivery_id) AS id, d.status FROM (SELECT * FROM deliveries WHERE status = 'pending') AS d
FULL JOIN due ON due.delivery_id = d.id
WHERE (d.created_at, d.workspace_id, d.endpoint_id, d.event_id, d.event_created_at, d.trigger, d.attempt_count,
  d.window_started_at, d.window_attempts, d.deadline_at)
  IS DISTINCT FROM (due.created_at, due.workspace_id, due.endpoint_id, due.event_id, due.event_created_at, due.trigger,
  due.attempt_count, due.window_started_at, due.window_attempts, due.deadline_at)
"""


class World:
    """One workspace. What it makes is closed by `close`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        self._closers: list[Callable[[], None]] = []
        with database.session() as session:
            self.workspace_id = create_workspace(session, uid=None, name="Test").id
        self._ledger = Ledger(
            database,
            ends=lambda kind, type, data: False,
            refuses=lambda kind, type, data: None,
            announce=lambda announcements, due: None,
            window_seconds=settings.delivery_window_seconds,
            max_open_streams=settings.max_open_streams,
        )

    def close(self) -> None:
        for close in reversed(self._closers):
            close()

    def endpoint(self, url: str, **wanted: Any) -> str:
        """Register a URL; its id."""
        with self.database.session() as session:
            wanted = {"url": url, **wanted}
            return endpoints.create_endpoint(session, self.settings, self.workspace_id, wanted).id

    def change(self, endpoint_id: str, **wanted: Any) -> None:
        with self.database.session() as session:
            endpoints.change_endpoint(session, self.settings, self.workspace_id, endpoint_id, wanted)

    def secrets(self, endpoint_id: str) -> dict[str, Any]:
        with self.database.session() as session:
            row = endpoints.get_endpoint(session, self.workspace_id, endpoint_id)
            return endpoints.read_secrets(session, self.settings, row)

    def publish(
        self, count: int = 1, *, type: str = "call.turn", kind: str = "call", data: str = "{}", only: str | None = None
    ) -> list[Accepted]:
        """Accept events; those that endpoints want have delivery rows then."""
        draft = Draft(kind, "one", type, data, json.loads(data), None, None)
        answers: list[Accepted] = []
        for start in range(0, count, 1000):
            drafts = [draft] * min(1000, count - start)
            for answer in self._ledger.accept(Submission(self.workspace_id, drafts, only)):
                assert isinstance(answer, Accepted), answer
                answers.append(answer)
        return answers

    def accept(self, drafts: Sequence[Draft]) -> Sequence[Accepted | Problem]:
        """Accept these in one transaction."""
        return self._ledger.accept(Submission(self.workspace_id, list(drafts)))

    def drain(self, **changed: Any) -> Drain:
        """A drain as a worker process has it. changed: settings, and options of Drain."""
        options = {
            name: changed.pop(name)
            for name in ("stopping", "clock", "tell", "crew", "place", "found_nothing")
            if name in changed
        }
        wake = changed.pop("wake", None) or Wake(self.settings.redis_url)
        settings = replace(self.settings, **changed)
        database = Database(settings.database_url, pool_size=1, options=claims.DATABASE_OPTIONS)
        sender = Sender(settings.allow_subnets, settings.send_total_seconds, settings.send_connect_seconds)
        self._closers += [database.close, sender.close, wake.close]
        return Drain(database, sender, settings, wake, **options)

    def sql(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        """Run a statement (pyformat); the rows of a SELECT or RETURNING."""
        with self.database.begin() as connection:
            result = connection.exec_driver_sql(statement, values)
            return result.all() if result.returns_rows else []

    def one(self, statement: str, **values: Any) -> Any:
        """The only value of the only row."""
        (row,) = self.sql(statement, **values)
        (value,) = row
        return value

    def deliveries(self, endpoint_id: str | None = None) -> Sequence[Row[Any]]:
        return self.sql(DELIVERIES, e=endpoint_id)

    def delivery(self) -> Row[Any]:
        """The only delivery there is."""
        (row,) = self.deliveries()
        return row

    def attempts(self) -> Sequence[Row[Any]]:
        return self.sql("SELECT * FROM attempts ORDER BY delivery_id, number, id")

    def statuses(self, endpoint_id: str | None = None) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.deliveries(endpoint_id):
            counts[row.status] = counts.get(row.status, 0) + 1
        return counts

    def endpoint_row(self, endpoint_id: str) -> Row[Any]:
        (row,) = self.sql("SELECT * FROM endpoints WHERE id = %(id)s", id=endpoint_id)
        return row

    def now(self) -> datetime:
        """The database's time."""
        now: datetime = self.one("SELECT now()")
        return now

    def divide(self) -> datetime:
        """A time, to the millisecond as rows have it, after all that was made so far and not after what comes."""
        first = ids.truncate(self.now())
        return eventually(lambda: now if (now := ids.truncate(self.now())) > first else None, poll_seconds=0.001)

    def let_pass(self, span: timedelta) -> None:
        """Let this time pass: every stored time moves into the past by it. A created_at stays, because ids hold it."""
        for statement in LET_PASS:
            self.sql(statement, span=span)

    def let_pass_until(self, moment: datetime) -> None:
        """Let time pass until a moment that a row names (and names differently afterwards) has just been."""
        self.let_pass(max(moment - self.now(), timedelta(0)) + timedelta(milliseconds=1))

    def make_due(self) -> None:
        """Let the time pass that pending rows wait for, leases included."""
        self.sql(
            "UPDATE due SET due_at = least(due_at, now()), "
            " leased_until = CASE WHEN leased_until > now() THEN now() ELSE leased_until END"
        )

    def make_due_now(self) -> None:
        """Let the time pass for which pending rows wait to be tried again; what is put away stays so."""
        self.sql(f"UPDATE due SET due_at = now() WHERE due_at > now() AND due_at < '{PARKED}'")

    def end(self, status: str, delivery_id: str | None = None, *, attempts: int = 0) -> None:
        """End deliveries (all of them unless one is named), as nothing in the product would."""
        change = (
            "UPDATE deliveries SET status = %(s)s, reason = 'x', finished_at = now(), attempt_count = %(n)s"
            " WHERE id = coalesce(%(id)s, id)"
        )
        self.sql(change, s=status, n=attempts, id=delivery_id)
        self.sql("DELETE FROM due WHERE delivery_id = coalesce(%(id)s, delivery_id)", id=delivery_id)

    def set_deadline(self, expression: str) -> None:
        """Have every delivery's window end at another time (SQL, of its columns)."""
        for table in ("deliveries", "due"):
            self.sql(f"UPDATE {table} SET deadline_at = {expression}")

    def contradictions(self) -> Sequence[Row[Any]]:
        """The deliveries of which `deliveries` and `due` say different things."""
        return self.sql(CONTRADICTIONS)


@pytest.fixture
def world(database: Database, settings: Settings) -> Iterator[World]:
    """A workspace, and what is needed to deliver its events."""
    made = World(database, settings)
    yield made
    made.close()
    assert made.contradictions() == [], "what is pending and what is due are not the same"
