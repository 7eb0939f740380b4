"""The database goes away in the middle: nothing acknowledged is lost, nothing is accepted twice, nobody hangs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event

from app.core import ids
from app.core.event.acceptance import Accepted
from app.core.problem import Problem
from app.database.connection import Database
from app.database.history import History, Known
from app.database.partitions import partition_name, week_of
from app.database.tables import PARTITIONED
from app.ledger.ledger import TRIES, Ledger, Submission
from app.local.embedded import EmbeddedPostgres
from tests.database.shifted import shifted
from tests.ledger.books import Books, draft
from tests.prepared import Prepare
from tests.processes import eventually

PRODUCERS = 6
PAUSE_SECONDS = 0.02  # before a producer repeats a refused request


class Producers:
    """They post events with keys, one after the other, each until it is answered, as a producer should."""

    def __init__(self, workspace_id: str, ledgers: list[Ledger], *, keyed: bool = True) -> None:
        self.acknowledged: dict[str, Accepted] = {}
        self.refusals = 0
        self._workspace_id = workspace_id
        self._keyed = keyed
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, ledgers[number % len(ledgers)]))
            for number in range(PRODUCERS)
        ]

    def __enter__(self) -> Producers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _run(self, number: int, ledger: Ledger) -> None:
        count = 0
        while not self._over.is_set():
            count += 1
            self._post(f"{number}-{count}", ledger)

    def _post(self, name: str, ledger: Ledger) -> None:
        one = draft(f"s{hash(name) % 3}", data=f'{{"name":"{name}"}}', key=name if self._keyed else None)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                (answer,) = ledger.accept(Submission(self._workspace_id, [one]))
            except Problem as problem:
                if (problem.code, problem.retry_after_seconds) != ("unavailable", 1):
                    raise
                self.refusals += 1
                if not self._keyed:
                    return  # whether it is stored is not known, and without a key it cannot be asked again
                self._over.wait(PAUSE_SECONDS)
                continue
            assert isinstance(answer, Accepted)
            self.acknowledged[name] = answer
            return
        raise AssertionError("never answered")


def stored(database: Database) -> dict[str, list[tuple[str, int]]]:
    """name -> (event id, seq) of every event of that name. Fails on a hole in any stream."""
    with database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT id, seq, stream_id, convert_from(body, 'UTF8')::jsonb->'data'->>'name' AS name"
            " FROM events ORDER BY stream_id, seq"
        ).all()
    found: dict[str, list[tuple[str, int]]] = {}
    seqs: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row.name, []).append((row.id, row.seq))
        seqs.setdefault(row.stream_id, []).append(row.seq)
    for given in seqs.values():
        assert given == list(range(1, len(given) + 1))
    return found


@pytest.mark.parametrize("keyed", [True, False], ids=["with keys", "without keys"])
def test_killed_connections_lose_nothing_acknowledged_and_store_nothing_twice(
    books: Books, postgres: EmbeddedPostgres, keyed: bool
) -> None:
    ledgers = [books.another_ledger() for _ in range(2)]
    name = books.database.url.rpartition("/")[2]
    with psycopg.connect(postgres.url, autocommit=True) as killer:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        with Producers(books.workspace_id, ledgers, keyed=keyed) as producers:
            for target in range(10, 151, 10):
                eventually(lambda target=target: len(producers.acknowledged) >= target, 20)
                killer.execute(kill, [name])
    found = stored(books.database)
    assert {name: [(one.id, one.seq)] for name, one in producers.acknowledged.items()}.items() <= found.items()
    assert all(len(copies) == 1 for copies in found.values())
    if keyed:
        assert found.keys() == producers.acknowledged.keys()
    assert {one.event.id for one in books.announced if one.event} <= {copies[0][0] for copies in found.values()}


@pytest.fixture
def own_postgres(engine_directory: Path, prepare: Prepare) -> Iterator[EmbeddedPostgres]:
    """A durable PostgreSQL that this test may crash, with the tables in it."""
    prepare(engine_directory / "crashing")
    engine = EmbeddedPostgres(engine_directory / "crashing")
    engine.start()
    yield engine
    engine.stop()


def test_a_server_that_crashes_has_everything_that_was_acknowledged(own_postgres: EmbeddedPostgres) -> None:
    database = Database(own_postgres.url)
    books = Books(database)
    with Producers(books.workspace_id, [books.ledger]) as producers:
        for target in (30, 60):
            eventually(lambda target=target: len(producers.acknowledged) >= target, 20)
            assert own_postgres.process is not None
            own_postgres.process.send_signal(signal.SIGQUIT)  # at once: no checkpoint, nothing is finished
            own_postgres.process.wait(10)
            refused = producers.refusals
            eventually(lambda refused=refused: producers.refusals > refused)
            own_postgres.spawn()
            own_postgres.wait_ready(30)
        eventually(lambda: len(producers.acknowledged) >= 90, 20)
    found = stored(database)
    assert {name: [(one.id, one.seq)] for name, one in producers.acknowledged.items()} == found
    database.close()
    books.close()


def test_a_database_that_is_away_is_said_at_once(books: Books) -> None:
    away = Database("postgresql://nobody:x@127.0.0.1:1/none")
    unreachable = Ledger(
        away,
        ends=lambda kind, type, data: False,
        refuses=lambda kind, type, data: None,
        announce=lambda announcements, due: None,
        window_seconds=60,
        max_open_streams=10,
    )
    tries: list[object] = []
    event.listen(away.engine, "do_connect", lambda *arguments: tries.append(arguments))
    with pytest.raises(Problem) as unavailable:
        unreachable.accept(Submission(books.workspace_id, [draft()]))
    assert len(tries) == TRIES
    assert (unavailable.value.status, unavailable.value.retry_after_seconds) == (503, 1)


def test_a_missing_partition_is_made_and_the_events_are_accepted(books: Books) -> None:
    books.accept(draft())
    week = week_of(datetime.now(UTC))
    for table in PARTITIONED:
        for offset in range(-1, 6):
            name = partition_name(table, week + timedelta(weeks=offset))
            books.sql(f"DROP TABLE IF EXISTS {name}")
    assert books.outcomes(draft(), draft("two")) == [2, 1]
    assert books.seqs() == {"one": [2], "two": [1]}
    assert [one.seq for one in books.announced] == [1, 2, 1]
    made = books.sql("SELECT to_regclass(%(name)s) IS NOT NULL AS there", name=partition_name("deliveries", week))
    assert made[0].there


def test_the_databases_clock_says_when_an_event_was_created(database: Database) -> None:
    """The machine is nine weeks behind. Its own idea of the coming weeks would make no partition for the event."""
    ahead = shifted(database, "9 weeks")
    books = Books(ahead)
    books.ledger = books.another_ledger(through=ahead)
    (accepted,) = books.accept(draft(key="k"))
    assert isinstance(accepted, Accepted)
    assert abs(accepted.created_at - datetime.now(UTC) - timedelta(weeks=9)) < timedelta(minutes=1)
    assert ids.created_at_of(accepted.id) == accepted.created_at == accepted.occurred_at
    assert books.sql("SELECT created_at FROM event_keys") == [(accepted.created_at,)]
    assert books.outcomes(draft(key="k"), draft()) == [1, 2]
    books.close()
    ahead.close()


def test_servers_that_change_all_the_time_are_an_outage_and_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[datetime] = []

    def learn(history: History) -> Known:
        looks.append(datetime.now(UTC))
        return Known(0, looks[-1])  # never the time at which the server at hand was started

    monkeypatch.setattr(History, "learn", learn)
    monkeypatch.setattr(History, "known", learn)
    books = Books(database)
    try:
        with pytest.raises(Problem) as caught:
            books.accept(draft())
    finally:
        books.close()
    assert caught.value.code == "unavailable"
    assert len(looks) < 20
