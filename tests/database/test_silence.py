"""PostgreSQL falls silent without closing its connections: everybody who waits is told within seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError

from app.accounts.callers import Callers
from app.database import patience
from app.database.batching import LIMIT_SECONDS
from app.database.calls import INT4, Prepared, Unanswered
from app.database.connection import ANSWER_SECONDS, Database
from tests.database.black_hole import BlackHole
from tests.processes import ROOT

HASTE_SECONDS = 3  # of a busy machine
ONE = Prepared(b"one", "SELECT 1", takes=(), gives={"one": INT4})


@pytest.fixture
def silenced(hole: BlackHole) -> Iterator[Database]:
    """A database behind the proxy, whose statements take a second at most, with a connection in its pool that has been
    idle for longer than it is trusted."""
    made = Database(hole.url, statement_seconds=1, trust_seconds=0)
    one(made)
    yield made
    made.close()


def one(database: Database) -> int:
    with database.begin() as connection:
        return int(connection.exec_driver_sql("SELECT 1").scalar_one())


def test_a_read_from_a_silent_server_fails_within_seconds(hole: BlackHole, silenced: Database) -> None:
    hole.fall_silent()
    begun = time.monotonic()
    with pytest.raises(OperationalError):
        one(silenced)
    assert time.monotonic() - begun < patience.PING_SECONDS + patience.CONNECT_SECONDS + HASTE_SECONDS
    hole.flow()
    assert one(silenced) == 1


def test_a_server_that_falls_silent_in_a_transaction_is_given_up(hole: BlackHole, silenced: Database) -> None:
    begun = time.monotonic()
    with silenced.engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        hole.fall_silent()
        with pytest.raises(OperationalError, match="does not answer") as error:
            connection.exec_driver_sql("SELECT 2")
    assert time.monotonic() - begun < 1 + ANSWER_SECONDS + HASTE_SECONDS
    assert error.value.connection_invalidated
    hole.flow()
    assert one(silenced) == 1


def test_forgotten_connections_are_replaced_without_an_error(hole: BlackHole, silenced: Database) -> None:
    hole.forget_connections()
    begun = time.monotonic()
    assert one(silenced) == 1
    assert time.monotonic() - begun < patience.PING_SECONDS + HASTE_SECONDS
    begun = time.monotonic()
    assert one(silenced) == 1
    assert time.monotonic() - begun < 1


def test_a_key_is_looked_up_in_bounded_time(hole: BlackHole, silenced: Database) -> None:
    callers = Callers(silenced)
    assert callers.authenticate("sk_unknown") is None
    hole.fall_silent()
    begun = time.monotonic()
    with pytest.raises(OperationalError):
        callers.authenticate("sk_unknown")
    assert time.monotonic() - begun < LIMIT_SECONDS


def test_a_block_with_a_limit_shares_it_among_its_statements(database: Database) -> None:
    begun = time.monotonic()
    with patience.within(0.8), database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(0.3)")
        with pytest.raises(OperationalError, match="does not answer"):
            connection.exec_driver_sql("SELECT pg_sleep(0.6)")
    assert time.monotonic() - begun < 0.6 + HASTE_SECONDS
    with patience.within(0), pytest.raises(OperationalError, match="has not answered"):
        Database(database.url).engine.connect()


def test_a_statement_that_is_known_to_be_long_is_waited_for(database: Database) -> None:
    hasty = Database(database.url, statement_seconds=0.2)
    with patience.allowing(30), hasty.begin() as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = '20s'")
        assert connection.exec_driver_sql("SELECT 1 FROM pg_sleep(2.5)").scalar() == 1
    hasty.close()


def test_both_sides_find_out_about_a_peer_that_is_gone(database: Database) -> None:
    with database.begin() as connection:
        parameters = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
        settings = {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("tcp_keepalives_idle",)}
    assert {name: parameters[name] for name in patience.TCP} == {name: str(v) for name, v in patience.TCP.items()}
    assert parameters["tcp_user_timeout"] == str(patience.USER_TIMEOUT_MILLISECONDS)
    assert settings == {"tcp_keepalives_idle": "10"}


def test_greenlets_wait_no_longer(hole: BlackHole) -> None:
    script = f"""if True:
        from gevent import monkey; monkey.patch_all()
        import gevent, time
        from sqlalchemy.exc import OperationalError
        from app.database.connection import Database
        database = Database({hole.url!r}, statement_seconds=1)
        def one(silent=False):
            with database.begin() as connection:
                connection.exec_driver_sql("SELECT pg_sleep(10)" if silent else "SELECT 1")
        one()
        ticks = []
        def tick():
            while True:
                ticks.append(time.monotonic()); gevent.sleep(0.05)
        gevent.spawn(tick)
        print("ready", flush=True)
        input()
        begun = time.monotonic()
        try:
            one()
        except OperationalError:
            pass
        else:
            raise SystemExit("no error")
        assert time.monotonic() - begun < {patience.PING_SECONDS + patience.CONNECT_SECONDS + HASTE_SECONDS}
        assert max(later - one for one, later in zip(ticks, ticks[1:])) < 2, "the event loop stood still"
    """
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        hole.fall_silent()
        process.communicate("\n", timeout=30)
    assert process.returncode == 0


def test_a_read_takes_no_longer_than_it_may_in_all(hole: BlackHole) -> None:
    reading = Database(hole.url, read_seconds=1)
    assert reading.read(ONE) == [(1,)]
    hole.fall_silent()
    begun = time.monotonic()
    with pytest.raises(Unanswered):
        reading.read(ONE)
    assert time.monotonic() - begun < 1 + HASTE_SECONDS
    reading.close()
