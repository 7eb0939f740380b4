"""Which streams have moved from where they are known to be, over a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.database.connection import Database
from app.live import reads
from app.live.stream_source import Head
from tests.ledger.books import Books, draft


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    made = Books(database)
    yield made
    made.close()


def test_only_those_that_are_elsewhere_have_ended_or_are_gone_are_answered(books: Books, database: Database) -> None:
    books.accept(*(draft(name) for name in ("quiet", "quiet", "grown", "lost", "over")))
    with database.begin() as connection:
        rows = connection.exec_driver_sql("SELECT external_id, id FROM streams")
        ids = {row.external_id: row.id for row in rows}
        quiet, grown, lost, over = (ids[name] for name in ("quiet", "grown", "lost", "over"))
        ending = "UPDATE streams SET ended_at = clock_timestamp() - interval '5 s' WHERE id = %(id)s"
        connection.exec_driver_sql(ending, {"id": over})
    source = reads.StreamReads(database)
    found = source.moved({quiet: 2, grown: 0, lost: 3, over: 1, 999: 7}, 0)
    assert source.moved({quiet: 2}, 0) == {}
    assert source.moved({quiet: 2}, 1) == {quiet: Head(2, False)}  # of another history
    assert {stream: head and head.last_seq for stream, head in found.items()} == {grown: 1, lost: 1, over: 1, 999: None}
    ended = found[over]
    assert ended is not None
    assert ended.ended
    assert 5 <= ended.ended_seconds < 60


def test_what_is_asked_again_is_not_written_down_again(books: Books, database: Database) -> None:
    class Counted(dict[int, int]):
        """Counts how often it is read through."""

        reads = 0

        def __iter__(self) -> Iterator[int]:
            self.reads += 1
            return super().__iter__()

    source = reads.StreamReads(database)
    known, other = Counted({999: 7}), Counted({998: 7})
    assert [list(source.moved(one, 0)) for one in (known, known, known, other)] == [[999], [999], [999], [998]]
    assert (known.reads, other.reads) == (1, 1)
