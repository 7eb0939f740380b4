"""One workspace's endpoints change all the time: its events alone are answered 503."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from app.core.problem import Problem
from app.database.calls import Prepared
from app.database.connection import Database
from app.ledger.ledger import Submission
from tests.ledger.books import Answer, Books, draft
from tests.processes import eventually


class Restless(Database):
    """Some workspaces' endpoints change just before each call."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.changing: list[str] = []

    def write(self, prepared: Prepared, *values: Any) -> list[Any]:
        with self.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE workspaces SET endpoints_version = endpoints_version + 1 WHERE id = ANY (%(ids)s)",
                {"ids": self.changing},
            )
        return super().write(prepared, *values)


class Trial:
    """Three workspaces that share groups: `first` has a stream `held` for which a group waits."""

    def __init__(self, books: Books, restless: Restless, pool: ThreadPoolExecutor) -> None:
        self.books, self.restless, self._pool = books, restless, pool
        self.ledger = books.another_ledger(through=restless, groups_at_once=1)
        self.first, self.calm, self.changing = books.workspace(), books.workspace(), books.workspace()
        self.accept(self.first, "held").result(30)

    def accept(self, workspace_id: str, name: str) -> Future[list[Answer]]:
        return self._pool.submit(self.ledger.accept, Submission(workspace_id, [draft(name)]))

    def share_a_group(self, *posted: tuple[str, str]) -> list[Future[list[Answer]]]:
        """Post one event each, while the group before waits for a lock."""
        with self.books.locked("held"):
            self.accept(self.first, "held")
            eventually(lambda: self.ledger.committing)
            futures = [self.accept(*one) for one in posted]
            eventually(lambda: self.ledger.waiting == len(posted))
        return futures

    def quarantine(self, workspace_id: str, name: str) -> None:
        self.accept(workspace_id, name).result(30)
        with self.books.locked(name):
            (answer,) = self.accept(workspace_id, name).result(30)
            assert isinstance(answer, Problem)


@pytest.fixture
def trial(books: Books, database: Database) -> Iterator[Trial]:
    restless = Restless(database.url)
    with ThreadPoolExecutor(4) as pool:
        yield Trial(books, restless, pool)
    restless.close()


def refused(future: Future[list[Answer]]) -> None:
    with pytest.raises(Problem, match="being changed all the time") as raised:
        future.result(30)
    assert (raised.value.code, raised.value.retry_after_seconds) == ("unavailable", 1)


def test_its_neighbours_in_a_group_are_accepted(trial: Trial) -> None:
    trial.restless.changing = [trial.changing]
    bad, good = trial.share_a_group((trial.changing, "a"), (trial.calm, "b"))
    refused(bad)
    assert not isinstance(good.result(30)[0], Problem)
    assert trial.books.seqs()["b"] == [1]
    assert "a" not in trial.books.seqs()


def test_what_was_committed_before_the_quarantined_part_stays_accepted(trial: Trial) -> None:
    trial.quarantine(trial.changing, "stuck")
    trial.restless.changing = [trial.changing]
    bad, good = trial.share_a_group((trial.changing, "stuck"), (trial.calm, "free"))
    refused(bad)
    assert not isinstance(good.result(30)[0], Problem)
    assert trial.books.seqs()["free"] == [1]


def test_the_quarantined_part_is_tried_although_the_other_failed(trial: Trial) -> None:
    trial.quarantine(trial.calm, "stuck")
    trial.restless.changing = [trial.changing]
    bad, good = trial.share_a_group((trial.changing, "free"), (trial.calm, "stuck"))
    refused(bad)
    assert not isinstance(good.result(30)[0], Problem)
    assert trial.books.seqs()["stuck"] == [1, 2]
