"""A reload: workers of the old generation stay until the new one serves, and not a moment shorter."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import gevent
import pytest

from app.web.reloading import Generations, may_send_away, serve_until_replaced
from tests.processes import ROOT


class OldWorker:
    """A worker of gunicorn, as far as a reload sees it."""

    def __init__(self, age: int) -> None:
        self.age = age
        self.alive = True
        self.sockets = [socket.socket()]
        self.handle_exit: Callable[[int, FrameType | None], None] = self._stop
        made.append(self)

    def told_to_end(self) -> None:
        """gunicorn's master has sent SIGTERM."""
        self.handle_exit(signal.SIGTERM, None)

    def close_listeners(self) -> None:
        """gunicorn's loop has noticed that the worker is to end."""
        for sock in self.sockets:
            sock.close()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.alive = False


made: list[OldWorker] = []


@pytest.fixture(autouse=True)
def _left_as_it_was() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    while made:
        made.pop().close_listeners()


def alive_after_a_while(worker: OldWorker) -> bool:
    """Whether it is still alive when what waits has been able to look several times."""
    for _ in range(3):
        gevent.sleep(0.11)
    return worker.alive


def test_a_generation_is_ready_when_as_many_serve_as_it_is_to_have() -> None:
    generations = Generations()
    generations.begin(2)
    seen = [generations.is_ready]
    for age in (3, 3, 4):  # told twice by one of them
        generations.mark_ready(1, age)
        seen.append(generations.is_ready)
    assert seen == [False, False, False, True]


def test_a_new_generation_begins_without_the_marks_of_the_old_one() -> None:
    generations = Generations()
    generations.begin(1)
    generations.mark_ready(1, 2)
    generations.begin(1)
    assert (generations.number, generations.is_ready) == (2, False)
    generations.mark_ready(1, 2)  # one that was slow to start
    assert not generations.is_ready
    generations.mark_ready(2, 3)
    assert generations.is_ready


def test_ages_beyond_the_shared_memory_have_a_place_too() -> None:
    generations = Generations()
    generations.begin(1)
    generations.mark_ready(1, 1_000_000)
    assert generations.is_ready


def test_what_is_marked_is_seen_by_other_processes() -> None:
    program = (
        "import os\nfrom app.web.reloading import Generations\ngenerations = Generations()\ngenerations.begin(1)\n"
        "child = os.fork() or os._exit(generations.mark_ready(1, 7) is not None)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), generations.is_ready)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0 True\n"


def test_an_old_worker_serves_until_the_new_ones_are_ready() -> None:
    generations = Generations()
    old = [OldWorker(1), OldWorker(2)]
    for worker in old:
        serve_until_replaced(worker, generations)
    generations.begin(2)
    new = [OldWorker(3), OldWorker(4)]
    ready = [serve_until_replaced(worker, generations) for worker in new]
    for worker in old:
        worker.told_to_end()
    ready[0]()
    assert [alive_after_a_while(worker) for worker in old] == [True, True]
    ready[1]()
    assert [alive_after_a_while(worker) for worker in [*old, *new]] == [False, False, True, True]


def test_nobody_is_sent_away_while_an_old_worker_takes_connections() -> None:
    generations = Generations()
    old = [OldWorker(1), OldWorker(2), OldWorker(3)]
    for worker in old:
        serve_until_replaced(worker, generations)()
    generations.begin(3)
    serve_until_replaced(OldWorker(4), generations)()
    seen = []
    for worker in old[:2]:
        worker.close_listeners()
        seen += [may_send_away(one, generations) for one in old]
    generations.mark_deaf(3)  # it has died, and the master says so
    seen += [may_send_away(one, generations) for one in old[:2]]
    assert seen == [False] * 6 + [True] * 2


def test_without_a_reload_a_worker_sends_away_as_soon_as_it_takes_nobody_in() -> None:
    generations = Generations()
    workers = [OldWorker(1), OldWorker(2)]
    for worker in workers:
        serve_until_replaced(worker, generations)()
    assert not may_send_away(workers[0], generations)
    workers[0].close_listeners()
    assert may_send_away(workers[0], generations)


def test_without_a_reload_a_worker_ends_when_it_is_told_to() -> None:
    worker = OldWorker(1)
    serve_until_replaced(worker, Generations())
    worker.told_to_end()
    assert not alive_after_a_while(worker)


def test_a_worker_that_is_told_twice_ends_at_once() -> None:
    generations = Generations()
    worker = OldWorker(1)
    serve_until_replaced(worker, generations)
    generations.begin(1)
    worker.told_to_end()
    assert worker.alive
    signal.raise_signal(signal.SIGTERM)
    assert not worker.alive
