"""Where a stream parts from what somebody saw of it, over a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.database import faults
from app.database.connection import Database
from app.database.history import History
from app.live import reads
from tests.ledger.books import Books, draft


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    made = Books(database)
    yield made
    made.close()


def begin(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT begin_history()").scalar_one())


def stream_id(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT id FROM streams WHERE external_id = 's'").scalar_one())


def post(books: Books, count: int) -> None:
    books.accept(*(draft("s") for _ in range(count)))


def test_what_was_seen_is_believed_up_to_where_its_history_ended(books: Books, database: Database) -> None:
    post(books, 5)
    with database.begin() as connection:
        assert begin(connection) == 1
    post(books, 30)
    with database.begin() as connection:
        assert begin(connection) == 2
    post(books, 4)
    with database.begin() as connection:
        id = stream_id(connection)
        found = {
            (seq, epoch): reads.last_shared(connection, id, seq, epoch) for seq in (1, 5, 6, 39) for epoch in (0, 1, 2)
        }
    assert found == {
        (1, 0): 1, (1, 1): 1, (1, 2): 1,
        (5, 0): 5, (5, 1): 5, (5, 2): 5,
        (6, 0): 5, (6, 1): 6, (6, 2): 6,
        (39, 0): 5, (39, 1): 35, (39, 2): 39,
    }  # fmt: skip


def test_events_that_retention_has_dropped_or_that_have_no_number_are_as_old_as_the_next(
    books: Books, database: Database
) -> None:
    post(books, 10)
    with database.begin() as connection:
        begin(connection)
        id = stream_id(connection)
        connection.exec_driver_sql("DELETE FROM events WHERE seq < 4")
        connection.exec_driver_sql("UPDATE events SET no = NULL, xid = NULL WHERE seq < 6")
    post(books, 5)
    with database.begin() as connection:
        assert [reads.last_shared(connection, id, seq, 0) for seq in (2, 5, 10, 11, 15)] == [2, 5, 10, 10, 10]
        connection.exec_driver_sql("DELETE FROM events WHERE seq < 12")  # nothing is left of what was shared
        assert reads.last_shared(connection, id, 12, 0) == 0


def test_events_are_accepted_only_where_the_history_was_looked_at(books: Books, database: Database) -> None:
    nothing = ", ".join(["'{}'"] * 28)
    call = f"SELECT * FROM accept_events(1, false, 1, 1, {nothing}, now())"
    with database.begin() as connection, pytest.raises(DBAPIError) as refused:
        connection.exec_driver_sql(call)
    assert faults.is_other_server(refused.value)
    assert not faults.is_requests_fault(refused.value)


def test_a_process_knows_the_history_after_it_has_looked(books: Books, database: Database) -> None:
    history = History(database)
    assert history.epoch == 0
    known = history.known()
    assert history.known() is known
    with database.begin() as connection:
        begin(connection)
    assert (history.known().epoch, history.learn().epoch, history.epoch) == (0, 1, 1)
    assert history.known().started == known.started
