"""A request that makes many deliveries is committed in slices, and its neighbours do not wait for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.event.acceptance import Accepted
from app.core.problem import Problem
from app.database.connection import Database
from app.ledger import slices
from app.ledger.ledger import Submission
from app.settings import Settings
from tests.ledger.books import Books, draft
from tests.processes import eventually

ENDPOINTS = 10
MOST_WEIGHT = 60  # four events: each weighs 5, and 10 for its deliveries
DRAFTS = [draft(data=f'{{"n":{number}}}') for number in range(30)]


@pytest.fixture
def make(database: Database, settings: Settings) -> Callable[..., tuple[Books, list[int]]]:
    """A ledger whose groups are small, a workspace with endpoints, and how many events each commit had."""

    def made(**changed: object) -> tuple[Books, list[int]]:
        commits: list[int] = []
        options = {"most_weight": MOST_WEIGHT, "on_commit": lambda requests, events: commits.append(events)} | changed
        books = Books(database, **options)
        for _ in range(ENDPOINTS):
            books.endpoint(settings, event_types=["note"])
        return books, commits

    return made


def test_a_slice_reaches_as_far_as_its_weight_allows() -> None:
    one = Submission("ws", [draft(), draft(type="many"), draft(), draft()])

    def wanting(kind: str, type: str) -> int:
        return 100 if type == "many" else 1

    assert slices.reach(one, 0, wanting, 20) == (1, 6)
    assert slices.reach(one, 1, wanting, 20) == (2, 105)  # one event is never cut
    assert slices.reach(one, 2, wanting, 20) == (4, 12)
    assert slices.weight_of(one, wanting) == 123


def test_a_group_is_packed_in_order() -> None:
    assert list(slices.packed([], 10)) == []
    assert list(slices.packed([4, 6, 1, 20, 2], 10)) == [(0, 2), (2, 3), (3, 4), (4, 5)]


def test_a_thousand_events_that_nobody_wants_are_one_slice() -> None:
    one = Submission("ws", [draft()] * 1001)
    assert slices.reach(one, 0, lambda kind, type: 0, slices.MOST_WEIGHT) == (1000, slices.MOST_WEIGHT)


def test_a_heavy_request_is_stored_whole_and_in_order(make: Callable[..., tuple[Books, list[int]]]) -> None:
    """Its endpoints are not known at first: what would have been one group turns out too heavy, and is cut."""
    books, commits = make()
    refused = [*DRAFTS[:5], draft(type="bad"), *DRAFTS[5:]]
    assert books.outcomes(*refused) == [*range(1, 6), "schema_mismatch", *range(6, 31)]
    assert sum(commits) == 30
    assert max(commits) <= MOST_WEIGHT // (slices.EVENT_WEIGHT + ENDPOINTS)
    assert books.seqs() == {"one": list(range(1, 31))}
    assert books.sql("SELECT count(*) FROM deliveries")[0][0] == 30 * ENDPOINTS
    books.close()


def test_endpoints_that_come_later_make_smaller_slices(
    make: Callable[..., tuple[Books, list[int]]], settings: Settings
) -> None:
    books, commits = make()
    books.accept(draft())
    for _ in range(ENDPOINTS):
        books.endpoint(settings)
    commits.clear()
    assert books.outcomes(*DRAFTS) == list(range(2, 32))
    assert max(commits) <= MOST_WEIGHT // (slices.EVENT_WEIGHT + 2 * ENDPOINTS)
    books.close()


def test_a_heavy_request_of_many_endpoints_keeps_no_neighbour_waiting(database: Database, settings: Settings) -> None:
    """With the bounds that run: 20,000 deliveries in at least four commits, and a neighbour's event between two."""
    commits: list[int] = []
    books = Books(database, groups_at_once=1, on_commit=lambda requests, events: commits.append(events))
    for _ in range(100):
        books.endpoint(settings)
    other = books.workspace()
    with ThreadPoolExecutor(1) as pool:
        heavy = pool.submit(books.outcomes, *(draft(f"s{number}") for number in range(200)))
        eventually(lambda: len(commits) > 0)
        assert books.outcomes(draft("light"), workspace_id=other) == [1]
        assert not heavy.done()
        assert heavy.result(60) == [1] * 200
    assert len(commits) >= 5
    assert max(commits) <= slices.MOST_WEIGHT // 100
    books.close()


def test_what_comes_behind_a_slice_that_failed_is_refused_by_itself(
    make: Callable[..., tuple[Books, list[int]]], database: Database
) -> None:
    commits: list[int] = []

    def on_commit(requests: int, events: int) -> None:
        commits.append(events)
        if len(commits) == 2:
            with database.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE event_keys RENAME TO away")

    books, _ = make(on_commit=on_commit)
    keyed = [draft(key=f"k{number}") for number in range(30)]
    answers = books.accept(*keyed)
    stored = sum(commits)
    assert [one.seq for one in answers[:stored] if isinstance(one, Accepted)] == list(range(1, stored + 1))
    refused = [one for one in answers[stored:] if isinstance(one, Problem)]
    assert [(one.code, one.retry_after_seconds) for one in refused] == [("unavailable", 1)] * (30 - stored)
    books.sql("ALTER TABLE away RENAME TO event_keys")
    repeated = books.accept(*keyed)
    assert [one.seq for one in repeated if isinstance(one, Accepted)] == list(range(1, 31))
    assert [isinstance(one, Accepted) and one.duplicate for one in repeated] == [True] * stored + [False] * (
        30 - stored
    )
    books.close()


def test_a_light_request_that_shared_a_group_with_a_heavy_one_is_stored(
    make: Callable[..., tuple[Books, list[int]]],
) -> None:
    """Nothing is known of the endpoints when they queue up, so that they share a group at first."""
    books, commits = make(groups_at_once=1)
    first, other = books.workspace(), books.workspace()
    books.accept(draft("held"), workspace_id=first)
    with ThreadPoolExecutor(3) as pool:
        with books.locked("held"):
            waiting = pool.submit(books.outcomes, draft("held"), workspace_id=first)
            eventually(lambda: books.ledger.committing)
            heavy = pool.submit(books.outcomes, *DRAFTS[:10])
            light = pool.submit(books.outcomes, draft("light"), workspace_id=other)
            eventually(lambda: books.ledger.waiting == 2)
            begun = time.monotonic()
        assert (waiting.result(30), heavy.result(30), light.result(30)) == ([2], list(range(1, 11)), [1])
        assert time.monotonic() - begun < 10
    assert max(commits) <= MOST_WEIGHT // (slices.EVENT_WEIGHT + ENDPOINTS)
    books.close()


def test_a_request_that_takes_too_long_keeps_what_it_has_and_is_repeated(
    make: Callable[..., tuple[Books, list[int]]],
) -> None:
    commits: list[int] = []

    def on_commit(requests: int, events: int) -> None:
        commits.append(events)
        books.ledger.slicing_seconds = 60.0
        eventually(lambda: time.monotonic() > late)

    books, _ = make(on_commit=on_commit)
    books.ledger.slicing_seconds = 1.0
    late = time.monotonic() + 1.1
    answers = books.accept(*DRAFTS)
    (stored,) = commits
    assert [one.seq for one in answers[:stored] if isinstance(one, Accepted)] == list(range(1, stored + 1))
    assert [str(one) for one in answers[stored:] if "more deliveries" in str(one)] == [str(answers[-1])] * (30 - stored)
    assert [one.seq for one in books.accept(*DRAFTS[stored:]) if isinstance(one, Accepted)] == list(
        range(stored + 1, 31)
    )
    books.close()
