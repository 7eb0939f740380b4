"""An idempotency key is one event, however often, from wherever and however late it is repeated."""

from __future__ import annotations

from app.core.event.acceptance import Accepted
from app.core.problem import Problem
from app.ledger.ledger import Submission
from tests.ledger.books import Answer, Books, draft, together


def test_fifty_at_once_with_one_key_are_one_event(books: Books) -> None:
    ledgers = [books.another_ledger() for _ in range(5)]
    answers: list[Answer] = []
    together(
        50, lambda number: answers.extend(ledgers[number % 5].accept(Submission(books.workspace_id, [draft(key="k")])))
    )
    accepted = [one for one in answers if isinstance(one, Accepted)]
    assert len(accepted) == 50
    assert len({(one.id, one.seq, one.created_at) for one in accepted}) == 1
    assert [one.duplicate for one in accepted].count(False) == 1
    assert books.seqs() == {"one": [1]}
    assert len(books.announced) == 1


def test_a_repeat_gets_the_first_answer_also_over_a_restart(books: Books) -> None:
    (first,) = books.accept(draft(key="k", type="first", data='{"n":1}'))
    books.accept(draft(), draft())
    (repeat,) = books.another_ledger().accept(
        Submission(books.workspace_id, [draft(key="k", type="first", data='{"n":1}')])
    )
    assert isinstance(first, Accepted)
    assert isinstance(repeat, Accepted)
    assert repeat.body() == first.body() | {"duplicate": True}
    assert books.seqs() == {"one": [1, 2, 3]}


def test_keys_belong_to_their_stream_and_their_workspace(books: Books) -> None:
    other = books.workspace()
    assert books.outcomes(draft("one", key="k"), draft("two", key="k"), draft("one", key="k")) == [1, 1, 1]
    assert books.outcomes(draft("one", key="k"), workspace_id=other) == [1]
    assert books.sql("SELECT count(*) FROM events")[0].count == 3


def test_an_ended_stream_refuses_what_is_new_and_answers_what_it_took(books: Books) -> None:
    assert books.outcomes(draft(key="a"), draft(type="end", key="b")) == [1, 2]
    answers = books.accept(draft(key="a"), draft(key="c"), draft(type="end", key="b"), draft())
    assert [one.duplicate if isinstance(one, Accepted) else one.status for one in answers] == [True, 409, True, 409]
    assert books.seqs() == {"one": [1, 2]}
    assert books.sql("SELECT count(*) FROM event_keys")[0].count == 2


def test_a_refused_event_does_not_use_up_its_key(books: Books) -> None:
    assert books.outcomes(draft(key="k", type="bad"), draft(key="k")) == ["schema_mismatch", 1]
    assert books.outcomes(draft(key="k", type="bad")) == ["idempotency_conflict"]  # taken by now


def test_a_key_with_another_payload_names_the_event_that_has_it(books: Books) -> None:
    (first,) = books.accept(draft(key="k", data='{"n":1}'))
    assert isinstance(first, Accepted)
    again, other, behind = books.accept(draft(key="k", data='{"n":1}'), draft(key="k", data='{"n":2}'), draft(key="l"))
    assert isinstance(again, Accepted)
    assert isinstance(other, Problem)
    assert (again.id, again.duplicate) == (first.id, True)
    assert (other.status, other.code, other.extra) == (409, "idempotency_conflict", {"event_id": first.id})
    assert isinstance(behind, Accepted)
    assert books.seqs() == {"one": [1, 2]}


def test_a_key_that_is_older_than_digests_takes_whatever_comes_for_its_repeat(books: Books) -> None:
    books.accept(draft(key="k"))
    books.sql("UPDATE event_keys SET digest = NULL")
    (repeat,) = books.accept(draft(key="k", type="other"))
    assert isinstance(repeat, Accepted)
    assert (repeat.seq, repeat.type, repeat.duplicate) == (1, "note", True)


def test_a_key_whose_event_was_dropped_by_retention_is_free_again(books: Books) -> None:
    assert books.outcomes(draft(key="k"), draft()) == [1, 2]
    books.sql("DELETE FROM events WHERE seq = 1")
    (again,) = books.accept(draft(key="k"))
    assert isinstance(again, Accepted)
    assert (again.seq, again.duplicate) == (3, False)
    (repeat,) = books.accept(draft(key="k"))
    assert isinstance(repeat, Accepted)
    assert (repeat.id, repeat.duplicate) == (again.id, True)
