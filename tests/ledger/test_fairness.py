"""One workspace does not wait for another's group. (Turns within a group: tests/database/test_batching.py.)"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.ledger.books import Books, draft
from tests.processes import eventually

AT_ONCE_SECONDS = 0.7  # of a busy machine


def test_a_group_that_waits_for_a_lock_keeps_no_other_workspace_waiting(books: Books) -> None:
    other = books.workspace()
    books.accept(draft("held"))
    books.ledger.lock_seconds = 3
    with ThreadPoolExecutor(1) as pool:
        with books.locked("held"):
            waiting = pool.submit(books.accept, draft("held"))
            eventually(lambda: books.ledger.committing)
            begun = time.monotonic()
            assert [books.outcomes(draft("free"), workspace_id=other) for _ in range(3)] == [[1], [2], [3]]
            assert time.monotonic() - begun < AT_ONCE_SECONDS
            assert not waiting.done()
        waiting.result(10)
