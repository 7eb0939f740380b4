"""Sending many events: what is not answered is sent again, what is answered is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence

import pytest

from app.cli.api import Api
from app.cli.command import CommandError, Status
from app.cli.event_lines import Line
from app.cli.profiles import Server
from app.cli.publishing import FIRST_WAIT_SECONDS, Publisher, batches, read_answers
from app.client.stream import pause_seconds
from tests.cli.conftest import OddServer

STORED = {"id": "evt_1", "seq": 1, "duplicate": False}
BUSY = {"status": 503, "code": "unavailable", "detail": "Not now.", "trace_id": "t1"}
WRONG = {"status": 422, "code": "invalid", "detail": "data: is missing", "trace_id": "t2"}

Answered = tuple[int, dict[str, str], bytes]


def line(number: int) -> Line:
    return Line(number, b'{"n":%d}' % number, 8)


def lines(*answers: object) -> Answered:
    return 202, {}, b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)


def send(odd: OddServer, count: int, *answers: Answered, retries: int = 3) -> tuple[list[bool], list[float]]:
    """Whether each of so many events was accepted, and how long was waited."""
    odd.answers, waited = list(answers), list[float]()
    with Api(Server(odd.url, "pk_1", origin="this test")) as api:
        publisher = Publisher(api, retries=retries, sleep=waited.append)
        answered = publisher.send([line(number) for number in range(1, count + 1)])
    return [answer.accepted for answer in answered], waited


def sent(odd: OddServer) -> list[list[int]]:
    """The numbers of the events in each request."""
    return [[json.loads(one)["n"] for one in body.splitlines()] for *_, body in odd.asked]


def test_only_what_could_not_be_stored_now_is_sent_again(odd_server: OddServer) -> None:
    accepted, waited = send(odd_server, 3, lines(STORED, BUSY, WRONG), lines(STORED))
    assert accepted == [True, True, False]
    assert sent(odd_server) == [[1, 2, 3], [2]]
    assert waited == [0.5]


def test_a_server_that_is_busy_is_asked_again_when_it_says(odd_server: OddServer) -> None:
    busy = (503, {"Retry-After": "7"}, json.dumps(BUSY).encode())
    assert send(odd_server, 1, busy, busy, lines(STORED)) == ([True], [7.0, 7.0])


def test_answers_that_are_cut_off_count_as_far_as_they_came(odd_server: OddServer) -> None:
    whole = lines(STORED, STORED)
    assert send(odd_server, 2, (202, {}, whole[2][:-9]), lines(STORED)) == ([True, True], [0.5])
    assert sent(odd_server) == [[1, 2], [2]]


def test_a_request_that_is_too_large_is_halved(odd_server: OddServer) -> None:
    large = (413, {}, json.dumps({**WRONG, "status": 413}).encode())
    assert send(odd_server, 3, large, lines(STORED), lines(STORED, STORED)) == ([True] * 3, [])
    assert sent(odd_server) == [[1, 2, 3], [1], [2, 3]]


def test_it_gives_up_and_says_where(odd_server: OddServer) -> None:
    with pytest.raises(CommandError, match=r"503, unavailable, trace t1.*line 2 and what follows it was not") as failed:
        send(odd_server, 2, lines(STORED, BUSY), lines(BUSY), retries=2)
    assert failed.value.status == Status.UNREACHABLE
    assert sent(odd_server) == [[1, 2], [2], [2]]


def test_what_is_refused_as_a_whole_is_not_repeated(odd_server: OddServer) -> None:
    refused = (401, {}, json.dumps({**WRONG, "status": 401, "code": "unauthorized"}).encode())
    with pytest.raises(CommandError) as failed:
        send(odd_server, 1, refused)
    assert (failed.value.status, len(odd_server.asked)) == (Status.UNAUTHORIZED, 1)


def test_pauses_double_up_to_half_a_minute() -> None:
    pauses = [pause_seconds(FIRST_WAIT_SECONDS, failures, 0, chance=0) for failures in (1, 2, 3, 6, 7, 99)]
    assert pauses == [0.5, 1.0, 2.0, 16.0, 30.0, 30.0]


def test_answers_are_read_as_far_as_they_are_whole() -> None:
    assert read_answers(b'{"seq":1}\n\n{"seq":2}\n{"se') == [{"seq": 1}, {"seq": 2}]
    assert read_answers(b"<html>") == []


def test_lines_of_a_pipe_do_not_wait_for_more() -> None:
    more = threading.Event()

    def slow() -> Iterator[Line]:
        yield line(1)
        more.wait(10)
        yield from (line(number) for number in range(2, 1000))

    groups = batches(slow(), most=100)
    assert next(groups) == [line(1)]
    more.set()
    rest: Sequence[Sequence[Line]] = list(groups)
    assert [one.number for group in rest for one in group] == list(range(2, 1000))
    assert max(map(len, rest)) <= 100


def test_large_events_travel_in_smaller_groups_and_a_bad_file_is_named() -> None:
    def large() -> Iterator[Line]:
        yield from (Line(number, b"x" * 2**18, 2**18) for number in range(9))
        raise CommandError("not JSON")

    taken = []
    with pytest.raises(CommandError, match="not JSON"):
        taken.extend(batches(large()))
    groups = list(taken)
    assert all(sum(len(one.event) for one in group) <= 2**20 + 2**18 for group in groups)
