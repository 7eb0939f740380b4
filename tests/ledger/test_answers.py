"""What one transaction does for many requests: the bad fail alone, and events and deliveries come together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from app.core.event.acceptance import Accepted
from app.core.problem import Problem
from app.database.connection import Database
from app.delivery import endpoints
from app.ledger.ledger import Submission
from app.settings import Settings
from tests.ledger.books import Answer, Books, draft
from tests.processes import eventually


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    """A ledger that commits one group at a time, so that requests of several workspaces share one."""
    made = Books(database, groups_at_once=1)
    yield made
    made.close()


POISON = """
    CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE data_exception USING MESSAGE = 'no deliveries today'; END $$;
    CREATE TRIGGER poison BEFORE INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION poison();
"""


def test_one_bad_event_of_a_request_fails_alone(books: Books) -> None:
    assert books.outcomes(draft("over", type="end")) == [1]
    given = [draft("one"), draft("one", type="bad"), draft("over"), draft("one"), draft("two")]
    assert books.outcomes(*given) == [1, "schema_mismatch", "stream_ended", 2, 1]
    assert books.seqs() == {"over": [1], "one": [1, 2], "two": [1]}
    assert [(one.seq, one.ends) for one in books.announced] == [(1, True), (1, False), (2, False), (1, False)]


def test_no_events_need_no_answer(books: Books) -> None:
    assert books.accept() == []
    assert books.announced == []


def test_a_refused_event_leaves_nothing_behind(books: Books) -> None:
    assert books.outcomes(draft("new", type="bad")) == ["schema_mismatch"]
    assert books.outcomes(draft("new", type="bad"), draft("other")) == ["schema_mismatch", 1]
    assert [row.external_id for row in books.sql("SELECT external_id FROM streams")] == ["other"]


def test_a_stream_that_is_ended_says_so_once_to_the_bus_and_takes_nothing_more(books: Books) -> None:
    books.accept(draft(), draft())
    books.ledger.end(books.workspace_id, "call", "one")
    ((ended_at,),) = books.sql("SELECT ended_at FROM streams")
    books.ledger.end(books.workspace_id, "call", "one")
    assert books.sql("SELECT ended_at FROM streams") == [(ended_at,)]
    assert [(one.seq, one.event, one.ends) for one in books.announced[2:]] == [(2, None, True)] * 2
    assert books.outcomes(draft()) == ["stream_ended"]
    with pytest.raises(Problem) as absent:
        books.ledger.end(books.workspace(), "call", "one")
    assert absent.value.status == 404


@pytest.mark.parametrize("together", [True, False])
def test_a_workspace_has_at_most_so_many_open_streams(database: Database, together: bool) -> None:
    books = Books(database, max_open_streams=3)
    names = ["a", "b", "c", "d", "e"]
    if together:
        found = books.outcomes(*map(draft, names))
    else:
        found = [outcome for name in names for outcome in books.outcomes(draft(name))]
    assert [found.count(1), found.count("too_many")] == [3, 2]
    taken, left = names[found.index(1)], names[found.index("too_many")]
    assert books.outcomes(draft(taken), draft(left)) == [2, "too_many"]
    assert books.outcomes(draft(left), workspace_id=books.workspace()) == [1]
    assert books.outcomes(draft(taken, type="end")) == [3]
    assert books.outcomes(draft(left)) == [1]
    books.close()


def test_deliveries_are_for_matching_enabled_endpoints_and_made_with_the_event(
    books: Books, settings: Settings
) -> None:
    everything = books.endpoint(settings)
    notes = books.endpoint(settings, event_types=["note", "call.*"])
    off = books.endpoint(settings)
    bots = books.endpoint(settings, stream_kinds=["bot"])
    books.endpoint(settings, workspace_id=books.workspace())
    with books.database.session() as session:
        endpoints.change_endpoint(session, settings, books.workspace_id, off, {"status": "disabled"})
    books.accept(draft(type="note"), draft(type="other"), draft(type="bad"))
    books.accept(draft(type="noted"), only=bots)
    rows = books.sql(
        "SELECT d.*, e.seq, e.created_at AS event_at, due.due_at FROM deliveries d JOIN events e ON e.id = d.event_id"
        " JOIN due ON due.delivery_id = d.id"
        " ORDER BY e.seq, d.endpoint_id"
    )
    assert [(row.seq, row.endpoint_id, row.trigger) for row in rows] == [
        *((1, one, "schedule") for one in sorted([everything, notes])),
        (2, everything, "schedule"),
        (3, bots, "test"),
    ]
    for row in rows:
        assert row.created_at == row.event_created_at == row.event_at == row.due_at == row.window_started_at
        assert row.deadline_at - row.created_at == timedelta(days=1)
        assert (row.status, row.attempt_count, row.workspace_id) == ("pending", 0, books.workspace_id)
    assert books.rung == 2
    books.endpoint(settings, event_types=["none"])
    books.accept(draft("x", type="bad"))
    assert books.rung == 2


def test_what_is_rolled_back_is_announced_to_nobody(books: Books, settings: Settings) -> None:
    books.endpoint(settings)
    books.accept(draft())
    books.announced.clear()
    books.sql(POISON)
    with pytest.raises(DBAPIError, match="no deliveries today"):
        books.accept(draft(), draft("two"))
    books.sql("DROP TRIGGER poison ON deliveries")
    assert books.announced == []
    assert books.seqs() == {"one": [1]}
    assert books.outcomes(draft()) == [2]  # the seq was not used up


def test_what_the_database_refuses_is_one_requests_fault(books: Books, settings: Settings) -> None:
    """Three requests share a transaction; the delivery of one cannot be stored. Its neighbours do not notice."""
    other = books.workspace()
    books.endpoint(settings)
    books.accept(draft("gate", type="nothing"), workspace_id=other)
    books.sql(POISON)
    answers: dict[str, list[Answer]] = {}
    failed: dict[str, Exception] = {}

    def accept(name: str, workspace_id: str) -> None:
        try:
            answers[name] = books.ledger.accept(Submission(workspace_id, [draft(name)]))
        except DBAPIError as error:
            failed[name] = error

    threads = [threading.Thread(target=accept, args=given) for given in (
        ("gate", other), ("a", other), ("bad", books.workspace_id), ("b", other),
    )]  # fmt: skip
    books.ledger.lock_seconds = 30
    with books.locked("gate"):
        for number, thread in enumerate(threads):  # the first leads, and waits for the lock; the others queue up
            thread.start()
            eventually(lambda number=number: books.ledger.committing and books.ledger.waiting == number)
    for thread in threads:
        thread.join(10)
    assert failed.keys() == {"bad"}
    seqs = {name: [one.seq for one in given if isinstance(one, Accepted)] for name, given in answers.items()}
    assert seqs == {"gate": [2], "a": [1], "b": [1]}
    assert not any(b'"bad"' in one.event.body for one in books.announced if one.event)
