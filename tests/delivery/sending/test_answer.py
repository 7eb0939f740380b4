"""What is taken of an answer, line by line."""

from __future__ import annotations

import pytest

from app.delivery.sending.answer import MAX_HEAD_BYTES, Answer


def make() -> tuple[Answer, list[int | None]]:
    """An answer, and the status codes that it had when its head was complete."""
    heads: list[int | None] = []
    answer = Answer(lambda line: not line.startswith(b"no"), lambda: heads.append(answer.status_code))
    return answer, heads


def read(answer: Answer, text: bytes) -> list[int | None]:
    return [answer.on_line(line + b"\n") for line in text.split(b"\n")[:-1]]


@pytest.mark.parametrize(
    ("text", "status_code", "headers", "is_http"),
    [
        (b"", None, [], True),
        (b"HTTP/1.1 200 OK\r\n", None, [], True),
        (b"HTTP/1.1 200 OK\r\nA: b\r\nC:  d \r\n\r\n", 200, [("A", "b"), ("C", "d")], True),
        (b"HTTP/1.1 200 OK\nA: b\n\n", 200, [("A", "b")], True),
        (b"HTTP/2 204 \r\na: caf\xe9\r\n\r\n", 204, [("a", "café")], True),
        (b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 500 No\r\nC: d\r\n\r\n", 500, [("C", "d")], True),
        (b"HTTP/1.1 200 OK\r\n\r\nX-Trailer: t\r\n\r\n", 200, [], True),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 200, [], True),
        (b"HTTP/1.1 2000 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None, [], False),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", None, [], False),
    ],
)
def test_the_first_final_head_counts(
    text: bytes, status_code: int | None, headers: list[tuple[str, str]], is_http: bool
) -> None:
    answer, heads = make()
    assert set(read(answer, text)) <= {None}
    assert (answer.status_code, answer.headers, answer.is_http) == (status_code, headers, is_http)
    assert heads == ([status_code] if status_code else [])


def test_nothing_of_an_answer_is_left_for_the_next() -> None:
    answer, heads = make()
    read(answer, b"HTTP/1.1 200 OK\r\nRetry-After: 5\r\n\r\n")
    answer.on_chunk(b"body")
    assert (answer.header("retry-after"), bytes(answer.body)) == ("5", b"body")
    answer.clear()
    assert (answer.status_code, answer.headers, bytes(answer.body), answer.has_begun) == (None, [], b"", False)
    read(answer, b"HTTP/1.1 500 No\r\n\r\n")
    assert (answer.header("retry-after"), heads) == (None, [200, 500])


def test_an_answer_may_be_stopped_at_its_first_line() -> None:
    answer, _ = make()
    assert answer.on_line(b"no thanks\r\n") == -1
    assert not answer.has_begun


def test_interim_answers_end_at_the_limit_of_the_head() -> None:
    answer, heads = make()
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    count = MAX_HEAD_BYTES // len(interim)
    assert set(read(answer, interim * count)) == {None}
    assert -1 in read(answer, interim)
    assert (answer.head_is_too_large, heads) == (True, [])
