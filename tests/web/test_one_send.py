"""An answer's head goes out with its body, and is never held back longer than that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http.wsgi import FileWrapper

from app.web.one_send import Date, Response


class Socket:
    """Keeps what is sent, each send by itself."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


def begun(*headers: tuple[str, str], method: str = "GET", status: str = "200 OK") -> tuple[Any, Socket]:
    """An answer whose headers are said, and what it is sent over."""
    sock = Socket()
    request = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    answer = Response(request, sock, SimpleNamespace(is_ssl=False, sendfile=False))
    answer.start_response(status, list(headers))
    assert sock.sent == []
    return answer, sock


def test_head_and_body_are_one_send() -> None:
    answer, sock = begun(("Content-Length", "2"), ("X-Request-Id", "a"))
    answer.write(b"ok")
    answer.close()
    (only,) = sock.sent
    head, _, body = only.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nServer: ")
    assert head.endswith(b"\r\nContent-Length: 2\r\nX-Request-Id: a")
    assert body == b"ok"


def test_further_pieces_follow_as_they_come() -> None:
    answer, sock = begun(("Content-Length", "4"))
    answer.write(b"ab")
    answer.write(b"cd")
    assert [one[-2:] for one in sock.sent] == [b"ab", b"cd"]


def test_pieces_of_unknown_length_are_chunks() -> None:
    answer, sock = begun()
    answer.write(b"0123456789")
    answer.close()
    assert sock.sent[0].endswith(b"Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n")
    assert sock.sent[1:] == [b"0\r\n\r\n"]


@pytest.mark.parametrize("headers", [(), (("Content-Length", "9"),)], ids=["a stream", "a body that comes later"])
def test_an_empty_piece_sends_the_head(headers: tuple[tuple[str, str], ...]) -> None:
    answer, sock = begun(*headers)
    answer.write(b"")
    assert [one[-4:] for one in sock.sent] == [b"\r\n\r\n"]


@pytest.mark.parametrize(("method", "status"), [("GET", "204 NO CONTENT"), ("HEAD", "200 OK")])
def test_an_answer_without_a_body_is_its_head(method: str, status: str) -> None:
    answer, sock = begun(("Content-Type", "text/plain"), method=method, status=status)
    answer.close()
    assert len(sock.sent) == 1
    assert sock.sent[0].endswith(b"\r\n\r\n")


def test_a_file_follows_the_head(tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    answer, sock = begun(("Content-Length", "7"))
    with file.open("rb") as opened:
        answer.write_file(FileWrapper(opened))
    assert b"".join(sock.sent).endswith(b"\r\n\r\ncontent")
    assert sock.sent[0].endswith(b"\r\n\r\n")


def test_the_date_is_made_once_a_second() -> None:
    now, made = [1000.1], list[float]()

    def make(timestamp: float) -> str:
        made.append(timestamp)
        return f"at {timestamp:g}"

    date = Date(make, lambda: now[0])
    assert [date(), date()] == ["at 1000"] * 2
    now[0] = 1001.9
    assert [date(), date(7)] == ["at 1001", "at 7"]
    now[0] = 1000.5  # the clock was set back
    assert date() == "at 1000"
    assert made == [1000, 1001, 7, 1000]
