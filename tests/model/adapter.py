"""How the model reaches the product: everything that it knows of today's SQL and of how a drain's parts are called.

The shadow compares rows and takes steps; only here it is said how a row is read, and how a drain works: it is a real
one, whose transactions are watched and may fail, and whose sender does what it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from app.core.webhook import steering
from app.core.webhook.fairness import Slots
from app.core.webhook.retry import Outcome
from app.core.webhook.shares import Lane
from app.database import calls
from app.database.calls import Prepared
from app.delivery import cancelling, claims, endpoint_health, round_calls, unrecorded
from app.delivery.attempts import Exchange
from app.delivery.claims import Claimed
from app.delivery.drain import Drain, Phase
from app.delivery.sending.request import Request, Result
from tests.delivery.world import World
from tests.model import reference
from tests.model.reference import FOR_EVER, Row

# Its outcome, status and Retry-After, and what it asks for with the header webhook-delivery.
Answer = tuple[Outcome, int | None, str | None] | tuple[Outcome, int | None, str | None, str]
"""An attempt's outcome, status code and Retry-After."""

DELAYS = (5.0, 30.0)
LEASE_SECONDS = 60
JITTER = 0.25
NEVER_FAILING = 365 * 86_400  # the model knows nothing of endpoints that are disabled because they fail

# Every column that the model knows, and how many attempts the log has.
_ROWS = """
SELECT d.id, q.due_at, d.window_started_at, d.deadline_at, d.status, d.reason, d.trigger, d.attempt_count,
  d.window_attempts, q.claims, q.leased_until, q.lease_token::text AS lease_token, d.finished_at,
  (SELECT count(*) FROM attempts WHERE delivery_id = d.id) AS logged
FROM deliveries d LEFT JOIN due q ON q.delivery_id = d.id ORDER BY d.id
"""
_EMPTY = ("DELETE FROM workspaces", "TRUNCATE events, deliveries, due, attempts")
_HEALTH = "SELECT id, consecutive_failures, last_outcome FROM endpoints"


def empty(connection: Connection) -> None:
    """Nothing is left of another shadow."""
    for statement in _EMPTY:
        connection.exec_driver_sql(statement)


def read(connection: Connection) -> dict[str, Row]:
    """The rows as they are, by delivery id; each counts as many attempts as the log has."""
    rows = connection.exec_driver_sql(_ROWS).all()
    assert all(row.logged == row.attempt_count for row in rows)
    assert all((row.status == "pending") == (row.due_at is not None) for row in rows)
    return {row.id: visible(Row(*row[1:-1])) for row in rows}


def visible(row: Row) -> Row:
    """What the database has of a row: one that has ended is in `deliveries` alone."""
    if row.status == "pending":
        return row
    return row._replace(due_at=FOR_EVER, claims=0, leased_until=None, lease_token=None)


def now_of(connection: Connection) -> datetime:
    """The transaction's time, by which claims and records go."""
    now: datetime = connection.exec_driver_sql("SELECT now()").scalar_one()
    return now


def changed_at(connection: Connection, endpoint_id: str) -> datetime:
    """When somebody last changed an endpoint; never, if it is deleted."""
    statement = "SELECT updated_at FROM endpoints WHERE id = %(id)s"
    found: datetime | None = connection.exec_driver_sql(statement, {"id": endpoint_id}).scalar()
    return found or reference.FOR_EVER


def make_jitter_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's chance is JITTER."""

    class Known:
        random = staticmethod(lambda: JITTER)

    monkeypatch.setattr(unrecorded, "random", Known)


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of the function: what it was given to record, in doubt or not, and what was asked and answered.

    decided_at: the worker's idea of the database's time. again: a call with this token was not answered. granted: what
    the worker has decided itself, None if the function was to. leaves: sharing was left to the worker, and nothing has
    been taken; askers: among whom.
    """

    exchanges: list[tuple[Exchange, bool]]
    decided_at: datetime
    claims: bool
    token: str
    again: bool
    may_go_alone: bool
    only_alone: bool
    lanes: frozenset[str]
    granted: dict[str, int] | None
    leaves: bool
    askers: tuple[str, ...]
    ended: frozenset[str]
    taken: frozenset[str]
    recorded: dict[str, Any]


class Watch(Protocol):
    """Who is told what a worker does in a transaction before that is committed.

    What `called` returns is told whether it was committed, and whether the worker knows.
    """

    def called(self, worker: Worker, connection: Connection, asked: Asked) -> Callable[[bool, bool], None]: ...
    def failed(self, worker: Worker, connection: Connection, reasons: dict[str, str]) -> None: ...
    def cancelled(self, worker: Worker, connection: Connection, endpoint_id: str) -> None: ...
    def disabled(self, worker: Worker, endpoint_id: str, reason: str) -> None: ...


class _Sender:
    """Sends nothing; has the results that it is told to have. held: what is under way."""

    def __init__(self) -> None:
        self.held: list[Request] = []
        self.ended: list[Result] = []

    def add(self, request: Request) -> None:
        self.held.append(request)

    def poll(self, seconds: float, bell: int | None = None) -> list[Result]:
        ended, self.ended = self.ended, []
        return ended


class _Wake:
    def call(self) -> bool:
        return True

    def call_another(self) -> bool:
        return True

    def answered(self) -> bool:
        return True


class _Heard:
    """A connection whose statements are told to the watch."""

    def __init__(self, connection: Connection, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._connection, self._tell = connection, tell

    def exec_driver_sql(self, statement: str, values: dict[str, Any]) -> Any:
        result = self._connection.exec_driver_sql(statement, values)
        self._tell(statement, values)
        return result


class _Line:
    """A drain's way to the database. accidents: what happens to its next calls, each one of

    refused: the server takes it back, and says so; cut: the connection breaks before the COMMIT; lost: after it; away:
    there is no connection.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.accidents: list[str] = []
        self.beside: Callable[[], None] | None = None  # is done once before the next call's COMMIT
        self.before_next: Callable[[], None] | None = None  # ... before the transaction that follows a call
        self.is_connected = True

    def direct(self) -> _Line:
        return self

    def call(self, prepared: Prepared, values: Sequence[Any]) -> list[Any]:
        """As Direct does it, in a transaction that is watched."""
        worker = self._worker
        if prepared is round_calls.MAY_START:
            return [prepared.row((True,))]
        accident = self.accidents.pop(0) if self.accidents else ""
        self.is_connected = accident not in ("cut", "lost", "away")
        if accident == "away":
            raise _error()
        before = worker.asking(values)
        with worker.world.database.begin() as connection:
            transaction, driver = connection.get_transaction(), cast(Any, connection.connection.driver_connection)
            now_of(connection)  # the transaction begins
            driver.keeps_statements = False  # psycopg forgets them when it rolls back
            rows = calls.run(driver, prepared, values)
            asked = worker.asked(before, values, rows)
            settle = worker.watch.called(worker, connection, asked)
            if self.beside is not None and not asked.leaves:
                beside, self.beside = self.beside, None
                beside()
            if accident in ("refused", "cut"):
                assert transaction is not None
                transaction.rollback()
        settle(accident not in ("refused", "cut"), accident == "")
        if accident:
            raise _error()
        return rows

    @contextmanager
    def begin(self) -> Iterator[_Heard]:
        if self.before_next is not None:
            before_next, self.before_next = self.before_next, None
            before_next()
        with self._worker.world.database.begin() as connection:
            yield _Heard(connection, lambda statement, values: self._tell(connection, statement, values))

    def _tell(self, connection: Connection, statement: str, values: dict[str, Any]) -> None:
        worker = self._worker
        if statement == claims._FAIL:
            worker.watch.failed(worker, connection, dict(zip(values["ids"], values["reasons"], strict=True)))
        elif statement == cancelling._CANCEL:
            for endpoint_id in values["ids"]:
                worker.watch.cancelled(worker, connection, endpoint_id)
        elif statement == endpoint_health._DISABLE:
            worker.watch.disabled(worker, values["id"], values["reason"])


def _error() -> OperationalError:
    return OperationalError("a round", None, psycopg.OperationalError("an accident"))


@dataclass(slots=True, eq=False)
class Worker:
    """A drain, and what it has in its hands. taken: places that others have of its slots, by lane."""

    world: World
    watch: Watch
    clock: Callable[[], float]
    taken: dict[Lane, int]
    line: _Line = field(init=False)
    _drain: Drain = field(init=False)
    _sender: _Sender = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Killed, and started again."""
        self.line, self._sender = _Line(self), _Sender()
        settings = replace(
            self.world.settings,
            lease_seconds=LEASE_SECONDS,
            retry_delays_seconds=DELAYS,
            disable_after_seconds=NEVER_FAILING,
        )
        parts = cast(Any, self.line), cast(Any, self._sender), settings, _Wake()
        self._drain = Drain(*parts, clock=self.clock)
        for lane, count in self.taken.items():
            for number in range(count):
                self.slots.start((lane, number), f"another {lane} {number}", lane, self.clock())

    @property
    def slots(self) -> Slots:
        return self._drain._slots

    def round(self, phase: Phase) -> None:
        """One round. Raises DBAPIError: the database could not be used."""
        self._drain.run_once(phase)

    def answer(self, count: int, answer: Answer, *, breaks: bool = False) -> None:
        """The first ones that are under way are answered. breaks: their connections break, and may be to blame."""
        outcome, status_code, retry_after, *asks = answer
        held = self._sender.held
        ended, held[:] = held[:count], held[count:]
        self._sender.ended += [
            Result(
                request.key,
                outcome,
                status_code,
                None,
                [(steering.HEADER, one) for one in asks],
                b"",
                retry_after,
                0.1,
                None,
                again=breaks,
                unanswered=status_code is None,
            )
            for request in ended
        ]

    def let_pass(self, span: timedelta) -> None:
        """What it remembers of the rows moves into the past, as they have."""
        requests = [*self._sender.held, *self._sender.ended]
        held = [cast("tuple[Claimed, datetime]", request.key)[0] for request in requests]
        held += [exchange.claimed for exchange in self._drain._unrecorded._exchanges]
        for claimed in set(held):
            for name in ("claimed_at", "window_started_at", "deadline_at"):
                object.__setattr__(claimed, name, getattr(claimed, name) - span)
        low_water = self._drain._claimer._low_water
        if low_water._mark is not None:
            low_water._mark -= span
        self._drain._database_clock.set(self.world.now())
        self.slots.advance(self.clock())

    # What a call is given, and what it says

    def asking(self, values: Sequence[Any]) -> tuple[list[tuple[Exchange, bool]], datetime]:
        """What is to be recorded, with whether it is in doubt, and the time by which that was decided."""
        kept = {exchange.attempt_id: exchange for exchange in self._drain._unrecorded._exchanges}
        outcomes = values[0] or []
        given = [(kept[outcome["attempt_id"]], outcome["doubtful"]) for outcome in outcomes]
        return given, self._drain._database_clock.now()

    def asked(
        self, before: tuple[list[tuple[Exchange, bool]], datetime], values: Sequence[Any], rows: Sequence[Any]
    ) -> Asked:
        question = values[2] or {}
        (note, *_), *taken = rows
        return Asked(
            *before,
            claims=bool(question),
            token=question.get("token", ""),
            again="again" in question,
            may_go_alone="alone" in question,
            only_alone=question.get("alone") == "only",
            lanes=frozenset(question.get("free", ())),
            granted=question.get("granted"),
            leaves="asking" in note,
            askers=tuple(row["endpoint_id"] for row in note.get("asking") or ()),
            ended=frozenset(note.get("ended") or ()),
            taken=frozenset(row[1] for row in taken),
            recorded=note.get("recorded") or {},
        )

    def lanes(self, connection: Connection, endpoint_ids: Sequence[str]) -> dict[str, Lane]:
        """Endpoints' lanes, as this worker knows them."""
        health = {row.id: row for row in connection.exec_driver_sql(_HEALTH).all()}
        return {
            id: self.slots.lane(id, health[id].consecutive_failures, health[id].last_outcome) for id in endpoint_ids
        }


def as_reference(exchange: Exchange) -> reference.Exchange:
    """The same for the reference."""
    token = exchange.claimed.lease_token
    return reference.Exchange(
        token,
        exchange.outcome,
        exchange.status_code,
        exchange.retry_after,
        exchange.unanswered,
        exchange.resent,
        steering.asked(exchange.response_headers),
    )
