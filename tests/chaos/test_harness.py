"""The harness itself: its verdict finds what is broken on purpose, its relay fails as it says."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.client.books import audit
from app.client.books.bookkeeper import Bookkeeper
from tests.chaos import journals, relay
from tests.chaos.engines import Relays
from tests.chaos.receivers import Customer
from tests.chaos.stage import everybody
from tests.chaos.verdict import FIGURES, Verdict, holes_of, judge, worst_seconds

STREAM = ("chaos", "one")
EVENTS = (1, 2, 3)


def body(seq: int, data: bytes | None = None) -> bytes:
    stream = b'{"kind":"chaos","id":"one"}'
    return b'{"id":"evt_%d","type":"chaos.event","stream":%b,"seq":%d,"data":%b}' % (
        seq, stream, seq, data or payload(seq),
    )  # fmt: skip


def payload(seq: int) -> bytes:
    return b'{"number":%d}' % seq


class Run:
    """A small run, made up: three events that a producer, a customer and a viewer know of."""

    def __init__(self) -> None:
        self.now = 0.0
        self.books = Bookkeeper(clock=lambda: self.now)
        self.customer = Customer(self.books.receiver("customer", lambda body, headers: None))
        self.viewer = self.books.viewer("viewer", STREAM)
        for seq in EVENTS:
            self.books.posting(f"key {seq}", STREAM, "chaos.event", payload(seq))
            self.books.acknowledged(f"key {seq}", f"evt_{seq}", seq)

    def deliver(self, *seqs: int, data: bytes | None = None) -> None:
        for seq in seqs:
            assert self.customer.take({"webhook-id": f"evt_{seq}"}, body(seq, data), 0) == 204

    def show(self, *seqs: int) -> None:
        for seq in seqs:
            self.viewer.saw(seq=seq, event_id=f"evt_{seq}", type="chaos.event", data=payload(seq))

    def verdict(self) -> Verdict:
        found = judge(self.books, [self.customer])
        found.times = 1
        return found

    def second_opinion(self, directory: Path) -> list[str]:
        assert self.customer.page is not None
        return journals.check(self.books, [(self.customer.page, "chaos/")], [self.viewer], directory)


@pytest.fixture
def run() -> Run:
    return Run()


def test_nothing_is_found_when_everything_came_even_twice(run: Run) -> None:
    run.deliver(*EVENTS, 2)
    run.show(*EVENTS)
    verdict = run.verdict()
    assert verdict.is_good, verdict.faults
    assert (verdict.acknowledged, verdict.repeated) == (3, 1)


def test_a_webhook_that_never_came_is_lost(run: Run) -> None:
    run.deliver(1, 3)
    run.show(*EVENTS)
    verdict = run.verdict()
    assert (verdict.lost, verdict.is_good) == (1, False)
    assert "evt_2" in verdict.faults[0]


def test_a_webhook_that_was_not_taken_is_lost(run: Run) -> None:
    run.customer.answer = lambda port: 500
    assert run.customer.take({"webhook-id": "evt_1"}, body(1), 0) == 500
    run.customer.answer = lambda port: 204
    run.deliver(2, 3)
    run.show(*EVENTS)
    assert run.verdict().lost == 1


def test_a_repeat_with_other_bytes_is_a_change(run: Run) -> None:
    run.deliver(*EVENTS)
    run.deliver(2, data=b'{"number": 2}')
    run.show(*EVENTS)
    verdict = run.verdict()
    assert (verdict.changed, verdict.repeated, verdict.is_good) == (1, 1, False)


def test_a_change_is_found_when_the_first_webhook_was_not_taken(run: Run) -> None:
    run.customer.answer = lambda port: 500
    run.customer.take({"webhook-id": "evt_1"}, body(1, b'{"number":9}'), 0)
    run.customer.answer = lambda port: 204
    run.deliver(*EVENTS)
    run.show(*EVENTS)
    assert run.verdict().changed == 1


def test_disorder_and_holes_on_a_stream_are_found(run: Run) -> None:
    run.deliver(*EVENTS)
    run.show(1, 3, 2)
    verdict = run.verdict()
    assert (verdict.holes, verdict.disorder, verdict.lost, verdict.is_good) == (1, 1, 0, False)


def test_an_event_that_a_viewer_sees_twice_is_disorder(run: Run) -> None:
    run.deliver(*EVENTS)
    run.show(*EVENTS, 3)
    assert run.verdict().disorder == 1


def test_what_nobody_posted_is_invented(run: Run) -> None:
    run.deliver(*EVENTS, 4)
    run.show(*EVENTS)
    assert run.verdict().invented == 1


def test_a_post_without_an_answer_may_be_seen_or_not(run: Run) -> None:
    for seq in (4, 5):
        run.books.posting(f"key {seq}", STREAM, "chaos.event", payload(seq))
    run.deliver(*EVENTS, 4)
    run.show(*EVENTS, 4)
    verdict = run.verdict()
    assert verdict.is_good, verdict.faults
    assert (verdict.acknowledged, verdict.unknown) == (3, 2)


def test_the_history_checker_finds_the_same(run: Run, tmp_path: Path) -> None:
    run.deliver(*EVENTS, 2)
    run.show(*EVENTS)
    assert run.second_opinion(tmp_path / "good") == []
    run.books.posting("key 4", STREAM, "chaos.event", payload(4))
    run.books.acknowledged("key 4", "evt_4", 4)
    run.deliver(2, data=b'{"number": 2}')
    run.show(2)
    kinds = [line.split()[0] for line in run.second_opinion(tmp_path / "bad")]
    assert Counter(kinds) == {"lost": 2, "changed": 1, "repeated": 1}


def test_every_finding_of_the_books_has_its_figure() -> None:
    text = Path(audit.__file__).read_text()
    kinds = set(re.findall(r'Finding\(\s*"I\d", "([a-z ]+)"', text)) | set(re.findall(r'kind = "([a-z ]+)"', text))
    assert kinds <= FIGURES.keys()
    assert len(kinds) > 8


def test_holes_are_counted_from_one() -> None:
    assert holes_of([2, 5, 3]) == [1, 4]
    assert holes_of([1, 2, 3]) == holes_of([]) == []


def test_the_worst_wait_begins_with_the_post_or_with_the_recovery(run: Run) -> None:
    run.now = 4.0
    run.deliver(1)
    run.now = 10.0
    run.deliver(2)
    run.show(1, 2)
    run.now = 11.0
    run.books.posting("key 4", STREAM, "chaos.event", payload(4))
    run.now = 17.0
    run.books.acknowledged("key 4", "evt_4", 4)
    pages = [run.customer.page, run.viewer]
    assert None not in pages
    assert worst_seconds(run.books, filter(None, pages), 5.0, everybody) == 6.0
    assert worst_seconds(run.books, filter(None, pages), 2.0, everybody) == 8.0
    assert worst_seconds(run.books, filter(None, pages), 5.0, lambda post: post.seq < 4) == 5.0
    assert worst_seconds(run.books, filter(None, pages), 5.0, lambda post: post.stream != STREAM) == 0.0


def test_figures_of_several_runs_are_added_up() -> None:
    verdict = Verdict(times=2, acknowledged=10, worst_seconds=1.0)
    verdict.add(Verdict(times=1, acknowledged=5, lost=1, worst_seconds=3.0, faults=["lost"]))
    assert verdict == Verdict(times=3, acknowledged=15, lost=1, worst_seconds=3.0, faults=["lost"])
    assert not verdict.is_good
    assert not Verdict().is_good  # nothing was done


class Engine:
    """A server that sends each text back, as PostgreSQL does in a transaction, or at its end, which is "COMMIT"."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://:secret@127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._listener.accept()[0],), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while text := connection.recv(1000):
                connection.sendall(answer(text))


def answer(text: bytes) -> bytes:
    return text + (relay.IDLE if text.endswith(b"COMMIT") else b"Z\0\0\0\x05T")


@pytest.fixture
def relays(tmp_path: Path) -> Iterator[Relays]:
    engine = Engine()
    found = Relays(engine.url, tmp_path / "relay.log")
    yield found
    found.stop()
    engine.close()


def connect(relays: Relays) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relays.port), timeout=5)


def exchange(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(1000)


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(0.3)
    try:
        connection.recv(1000)
    except TimeoutError:
        connection.settimeout(5)
        return True
    return False


def test_a_relay_carries_and_refuses(relays: Relays) -> None:
    assert relays.url("redis://:secret@127.0.0.1:1/0") == f"redis://:secret@127.0.0.1:{relays.port}/0"
    with connect(relays) as connection:
        assert exchange(connection, b"one") == answer(b"one")
        relays.refuse()
        with suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(relays)
    relays.mend()
    with connect(relays) as connection:
        assert exchange(connection, b"two") == answer(b"two")


def test_a_relay_that_swallows_carries_on_when_it_is_mended(relays: Relays) -> None:
    with connect(relays) as connection:
        assert exchange(connection, b"one") == answer(b"one")
        relays.swallow()
        connection.sendall(b"two")
        assert is_silent(connection)
        relays.mend()
        assert connection.recv(1000) == answer(b"two")


def test_a_relay_falls_silent_for_those_who_are_connected(relays: Relays) -> None:
    with connect(relays) as old:
        assert exchange(old, b"one") == answer(b"one")
        relays.fall_silent()
        old.sendall(b"two")
        assert is_silent(old)
        with connect(relays) as new:
            assert exchange(new, b"three") == answer(b"three")
        assert is_silent(old)


@pytest.mark.parametrize("carried", relay.CARRIED)
def test_a_relay_loses_the_answer_to_a_commit_that_carried_something(relays: Relays, carried: bytes) -> None:
    with connect(relays) as connection:
        relays.cut_next()
        for text in (b"SELECT COMMIT", carried):
            assert exchange(connection, text) == answer(text)
        with pytest.raises(ConnectionResetError):
            exchange(connection, b"COMMIT")
    with connect(relays) as connection, pytest.raises(AssertionError, match="something is cut"):
        relays.cut_surely(0.1)
    with connect(relays) as connection, pytest.raises(ConnectionResetError):
        exchange(connection, carried + b"COMMIT")  # all in one statement
    with connect(relays) as connection:
        for text in (carried, b"COMMIT"):
            assert exchange(connection, text) == answer(text)


def test_a_relay_loses_an_acknowledgement(relays: Relays) -> None:
    with connect(relays) as connection:
        relays.cut_next()
        assert exchange(connection, b"one") == answer(b"one")
        with pytest.raises(ConnectionResetError):
            exchange(connection, b"ZREM unacked_index 1")
    with connect(relays) as connection:
        assert exchange(connection, b"ZREM unacked_index 2") == answer(b"ZREM unacked_index 2")
