"""A workspace that is deleted while its events are being accepted: they are refused, and nobody else notices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.accounts import workspaces
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


def delete(books: Books, workspace_id: str) -> None:
    with books.database.session() as session:
        workspaces.delete_workspace(session, workspace_id)


def accept_together(books: Books, wanted: dict[str, Submission]) -> dict[str, list[Answer]]:
    """Have one transaction accept all of these: they queue up behind one that waits for a stream's lock."""
    answers: dict[str, list[Answer]] = {}
    gate = books.workspace()
    books.accept(draft("gate"), workspace_id=gate)

    def accept(name: str, submission: Submission) -> None:
        answers[name] = books.ledger.accept(submission)

    threads = [threading.Thread(target=accept, args=("gate", Submission(gate, [draft("gate")])))]
    threads += [threading.Thread(target=accept, args=pair) for pair in wanted.items()]
    books.ledger.lock_seconds = 30
    with books.locked("gate"):
        for number, thread in enumerate(threads):
            thread.start()
            eventually(lambda number=number: books.ledger.committing and books.ledger.waiting == number)  # type: ignore[misc]
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return answers


def test_events_of_a_deleted_workspace_are_not_found_and_their_neighbours_are_stored(database: Database) -> None:
    commits: list[tuple[int, int]] = []
    books = Books(database, groups_at_once=1, on_commit=lambda requests, events: commits.append((requests, events)))
    gone = books.workspace()
    books.accept(draft("old"), workspace_id=gone)
    delete(books, gone)
    commits.clear()
    answers = accept_together(
        books,
        {
            "before": Submission(books.workspace_id, [draft("a")]),
            "gone": Submission(gone, [draft("old"), draft("new"), draft("new", type="bad"), draft("new", key="k")]),
            "after": Submission(books.workspace_id, [draft("a"), draft("b")]),
        },
    )
    assert [one.code for one in answers["gone"] if isinstance(one, Problem)] == ["not_found"] * 4
    assert answers["gone"][0].status == 404  # type: ignore[union-attr]
    assert [one.seq for name in ("before", "after") for one in answers[name] if isinstance(one, Accepted)] == [1, 2, 1]
    assert commits == [(1, 1), (1, 1), (3, 3)]
    assert books.sql("SELECT FROM streams WHERE workspace_id = %(w)s", w=gone) == []
    books.close()


def test_nobody_waits_for_a_deletion_that_is_under_way(books: Books) -> None:
    going, other = books.workspace(), books.workspace()
    books.accept(draft("old"), workspace_id=going)
    books.accept(draft("old"), workspace_id=other)
    wanted = {
        "going": Submission(going, [draft("old"), draft("new")]),
        "other": Submission(other, [draft("old"), draft("new")]),
    }
    with books.database.engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM workspaces WHERE id = %(id)s", {"id": going})
        answers = accept_together(books, wanted)
        # All are answered before the deletion is over. A wait for it could only end in a lock time-out, which would
        # have refused the other workspace's events, too.
        assert connection.in_transaction()
        assert [one.code for one in answers["going"] if isinstance(one, Problem)] == ["unavailable"] * 2
        assert [one.seq for one in answers["other"] if isinstance(one, Accepted)] == [2, 1]
        connection.rollback()
    assert books.outcomes(draft("old"), draft("new"), workspace_id=going) == [2, 1]
    delete(books, going)
    assert books.outcomes(draft("old"), draft("new"), workspace_id=going) == ["not_found"] * 2


def test_a_deletion_under_fire_ends_and_leaves_nothing_behind(books: Books, settings: Settings) -> None:
    going = books.workspace()
    books.endpoint(settings, workspace_id=going)
    ledgers = [books.ledger, books.another_ledger()]
    over = threading.Event()
    refused: set[str] = set()

    def fire(number: int) -> int:
        kept = count = 0
        while not over.is_set():
            count += 1
            mine = [draft(f"s{(number + count) % 5}"), draft(f"{number}-{count}")]
            answers = ledgers[number % 2].accept(Submission(going, mine))
            refused.update(one.code for one in answers if isinstance(one, Problem))
            answers = ledgers[number % 2].accept(Submission(books.workspace_id, [draft("same")]))
            kept += sum(isinstance(one, Accepted) for one in answers)
            assert kept == count
        return kept

    with ThreadPoolExecutor(8) as pool:
        producers = [pool.submit(fire, number) for number in range(8)]
        try:
            eventually(lambda: len(books.announced) > 300)
            delete(books, going)
            eventually(lambda: "not_found" in refused)
        finally:
            over.set()
        kept = sum(one.result(30) for one in producers)
    assert refused <= {"not_found", "unavailable"}
    assert books.seqs() == {"same": list(range(1, kept + 1))}
    for table in ("streams", "events", "deliveries"):
        assert books.sql(f"SELECT FROM {table} WHERE workspace_id = %(w)s", w=going) == [], table


@pytest.mark.parametrize("act", ["change", "delete"])
def test_a_deletion_and_a_change_of_an_endpoint_do_not_wait_for_each_other(
    books: Books, settings: Settings, act: str
) -> None:
    going = books.workspace()
    endpoint_id = books.endpoint(settings, workspace_id=going)
    with ThreadPoolExecutor(1) as pool:
        with books.database.session() as session:
            if act == "change":
                endpoints.change_endpoint(session, settings, going, endpoint_id, {"event_types": ["a"]})
            else:
                endpoints.delete_endpoint(session, going, endpoint_id)
            deletion = pool.submit(delete, books, going)
            eventually(lambda: books.sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        deletion.result(10)
    assert books.sql("SELECT FROM endpoints WHERE workspace_id = %(w)s", w=going) == []
