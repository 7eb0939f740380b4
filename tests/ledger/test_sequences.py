"""A stream's sequence has no holes, and its order is the order of commit, however many accept at once."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

from app.core.event.acceptance import Accepted
from app.core.wire.envelope import data_of
from app.database.connection import Database
from app.ledger.ledger import Submission
from app.live import reads
from tests.ledger.books import Books, draft, together

THREADS = 8
PROCESSES = 4


def test_many_producers_on_one_stream_leave_no_hole_and_a_reader_misses_nothing(
    books: Books, database: Database
) -> None:
    books.accept(draft("one"))
    ledgers = [books.another_ledger() for _ in range(PROCESSES)]
    given: list[int] = []
    read: list[int] = []
    over = threading.Event()

    def produce(number: int) -> None:
        chance = random.Random(number)
        for _ in range(40):
            part = [draft("one") for _ in range(chance.randint(1, 10))]
            answers = ledgers[number % PROCESSES].accept(Submission(books.workspace_id, part))
            seqs = [one.seq for one in answers if isinstance(one, Accepted)]
            assert len(seqs) == len(part)
            assert seqs == list(range(seqs[0], seqs[0] + len(part))), "one request's events stand together"
            given.extend(seqs)

    def follow() -> None:
        while True:
            last = over.is_set()
            with database.begin() as connection:
                page = reads.events_after(connection, {1: read[-1] if read else 0}).get(1, [])
            read.extend(found.seq for found in page)
            if last and not page:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    together(THREADS, produce)
    over.set()
    reader.join(30)
    assert sorted(given) == list(range(2, len(given) + 2))
    assert books.seqs() == {"one": list(range(1, len(given) + 2))}
    assert read == list(range(1, len(given) + 2))  # a cursor never had to go back
    rows = books.sql("SELECT created_at, id FROM events ORDER BY seq")
    assert [row.created_at for row in rows] == sorted(row.created_at for row in rows)


def test_overlapping_streams_in_any_order_neither_lock_each_other_out_nor_leave_holes(books: Books) -> None:
    ledgers = [books.another_ledger() for _ in range(PROCESSES)]
    counted: dict[str, int] = {}
    lock = threading.Lock()

    def produce(number: int) -> None:
        chance = random.Random(number)
        for _ in range(25):
            part = [draft(f"s{chance.randrange(100)}") for _ in range(chance.randint(1, 20))]  # some are new
            answers = ledgers[number % PROCESSES].accept(Submission(books.workspace_id, part))
            assert all(isinstance(one, Accepted) for one in answers)
            with lock:
                for one in part:
                    counted[one.stream_id] = counted.get(one.stream_id, 0) + 1

    together(THREADS, produce)
    assert books.seqs() == {name: list(range(1, count + 1)) for name, count in counted.items()}
    heads = books.sql("SELECT external_id, last_seq FROM streams")
    assert {row.external_id: row.last_seq for row in heads} == counted
    books.close()  # a backend reports its deadlocks at its end
    assert books.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0].deadlocks == 0


def test_what_is_stored_announced_and_answered_is_the_same(books: Books, database: Database) -> None:
    data = '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\\u2028é😀","\\ud800":1}'
    (answer,) = books.accept(draft("one", type="call.note", data=data, at=datetime(2026, 1, 2, 3, 4, 5, 678_999, UTC)))
    assert isinstance(answer, Accepted)
    ((row,), (told,)) = books.sql("SELECT * FROM events"), books.announced
    assert told.event is not None
    assert (row.id, row.seq, row.type) == (answer.id, 1, "call.note") == (told.event.id, told.seq, told.event.type)
    assert bytes(row.body) == told.event.body
    assert data_of(told.event.body) == data.encode()
    assert answer.body()["occurred_at"] == told.event.timestamp == "2026-01-02T03:04:05.678Z"
    with database.begin() as connection:
        (read,) = reads.events_after(connection, {told.stream: 0})[told.stream]
    assert read == told.event  # a subscriber cannot tell the bus from the log
    assert row.created_at == answer.created_at
    assert abs(datetime.now(UTC) - row.created_at) < timedelta(minutes=1)


def test_times_at_the_ends_of_the_calendar_are_kept(books: Books, database: Database) -> None:
    moments = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)]
    books.accept(*(draft("one", at=moment) for moment in moments))
    with database.begin() as connection:
        found = reads.events_after(connection, {1: 0})[1]
    assert [one.timestamp for one in found] == ["0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"]
    assert [one.event for one in books.announced] == found


def test_pages_are_bounded_by_count_and_by_bytes_and_hold_at_least_one_event(books: Books, database: Database) -> None:
    large = '{"x":"' + "x" * 200_000 + '"}'
    books.accept(*(draft("one") for _ in range(reads.PAGE_EVENTS + 10)))
    books.accept(
        draft("two", data=large), draft("two"), *(draft("two", data='{"x":"' + "y" * 30_000 + '"}') for _ in range(4))
    )
    ids = {row.external_id: row.id for row in books.sql("SELECT id, external_id FROM streams")}

    def page(**after: int) -> dict[str, list[int]]:
        with database.begin() as connection:
            found = reads.events_after(connection, {ids[name]: seq for name, seq in after.items()})
        return {name: [one.seq for one in found.get(ids[name], [])] for name in after}

    assert page(one=0, two=0) == {"one": list(range(1, reads.PAGE_EVENTS + 1)), "two": [1]}
    assert page(one=reads.PAGE_EVENTS, two=1) == {"one": list(range(201, 211)), "two": [2, 3, 4, 5]}
    assert page(one=210, two=5) == {"one": [], "two": [6]}
