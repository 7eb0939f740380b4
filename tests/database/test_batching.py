"""Concurrent calls share a run; each gets its own outcome; nobody is left waiting."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from app.database.batching import Abandoned, Batcher
from tests.processes import eventually

DEADLINE_SECONDS = 10


def in_threads(calls: list[Callable[[], object]]) -> list[object]:
    """The outcome (result or exception) of each call, all run at the same time."""
    outcomes: list[object] = [None] * len(calls)

    def call(index: int) -> None:
        try:
            outcomes[index] = calls[index]()
        except Exception as error:
            outcomes[index] = error

    threads = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive(), "a caller was left waiting"
    return outcomes


class Gate:
    """A run that can be held, and that remembers its batches."""

    def __init__(self, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.open = threading.Event()
        if not held:
            self.open.set()

    def __call__(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        self.entered.set()
        assert self.open.wait(DEADLINE_SECONDS)
        return [ValueError(item) if item < 0 else item * 2 for item in items]


def hold_then_queue(items: list[int], **options: object) -> tuple[Gate, list[object]]:
    """Run item 0 alone, let `items` queue in order behind it, then let go; the gate and their outcomes."""
    gate = Gate(held=True)
    batcher: Batcher[int, int] = Batcher(gate, **options)  # type: ignore[arg-type]
    first = threading.Thread(target=batcher.submit, args=(0,), daemon=True)
    first.start()
    assert gate.entered.wait(DEADLINE_SECONDS)

    def submit(index: int) -> int:
        eventually(lambda: batcher.waiting >= index, DEADLINE_SECONDS, poll_seconds=0.005)
        return batcher.submit(items[index])

    def release() -> None:
        eventually(lambda: batcher.waiting >= len(items), DEADLINE_SECONDS, poll_seconds=0.005)
        gate.open.set()

    calls: list[Callable[[], object]] = [lambda index=index: submit(index) for index in range(len(items))]  # type: ignore[misc]
    outcomes = in_threads([*calls, release])
    first.join(DEADLINE_SECONDS)
    return gate, outcomes[:-1]


def test_a_single_call_runs_at_once() -> None:
    gate = Gate()
    assert Batcher(gate).submit(21) == 42
    assert gate.batches == [[21]]


def test_calls_that_wait_share_the_next_run_in_order() -> None:
    gate, outcomes = hold_then_queue([1, 2, 3])
    assert gate.batches == [[0], [1, 2, 3]]
    assert outcomes == [2, 4, 6]


def test_each_item_gets_its_own_exception() -> None:
    _, outcomes = hold_then_queue([1, -2, 3])
    assert (outcomes[0], outcomes[2]) == (2, 6)
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[1].args == (-2,)


def test_a_batch_is_bounded_by_weight_but_never_empty() -> None:
    gate, outcomes = hold_then_queue([3, 3, 9, 1], max_weight=6, weigh=abs)
    assert gate.batches == [[0], [3, 3], [9], [1]]
    assert outcomes == [6, 6, 18, 2]


def test_an_exception_of_the_run_goes_to_everybody_and_the_next_run_is_free() -> None:
    def run(items: list[int]) -> list[int]:
        raise OSError("the database went away")

    batcher: Batcher[int, int] = Batcher(run)
    outcomes = in_threads([lambda: batcher.submit(1)] * 5)
    assert all(isinstance(outcome, OSError) for outcome in outcomes)
    with pytest.raises(OSError, match="went away"):
        batcher.submit(2)


@pytest.mark.parametrize("raised", [True, False])
def test_an_item_that_failed_is_let_go_of(raised: bool) -> None:
    class Item:
        pass

    def run(items: list[Item]) -> list[Item | Exception]:
        try:
            raise OSError("the database went away")
        except OSError as error:
            if raised:
                raise
            return [error]

    def submit() -> weakref.ref[Item]:
        item = Item()
        with suppress(OSError):
            batcher.submit(item)
        return weakref.ref(item)

    batcher: Batcher[Item, Item] = Batcher(run)
    gc.disable()
    try:
        assert submit()() is None
    finally:
        gc.enable()


def test_a_run_that_gives_too_few_results_is_an_error_for_all() -> None:
    batcher: Batcher[int, int] = Batcher(lambda items: [])
    with pytest.raises(RuntimeError, match="0 results for 1 items"):
        batcher.submit(1)


def test_many_threads_lose_and_repeat_nothing() -> None:
    seen: list[int] = []

    def run(items: list[int]) -> list[int]:
        seen.extend(items)
        return [item + 1 for item in items]

    batcher: Batcher[int, int] = Batcher(run, max_weight=7)

    def work(start: int) -> list[int]:
        return [batcher.submit(item) for item in range(start, start + 200)]

    outcomes = in_threads([lambda start=start: work(start) for start in range(0, 4000, 200)])  # type: ignore[misc]
    assert sorted(seen) == list(range(4000))
    assert sorted(number for outcome in outcomes for number in outcome) == list(range(1, 4001))  # type: ignore[attr-defined]


def test_a_caller_waits_no_longer_than_its_limit() -> None:
    gate = Gate(held=True)
    batcher: Batcher[int, int] = Batcher(gate, limit_seconds=1)
    in_run, behind = (threading.Thread(target=batcher.submit, args=(number,), daemon=True) for number in (0, 1))
    in_run.start()
    assert gate.entered.wait(DEADLINE_SECONDS)
    begun = time.monotonic()
    with pytest.raises(Abandoned, match="batches before"):
        batcher.submit(2)
    assert 0.5 <= time.monotonic() - begun < 1
    gate.open.set()
    in_run.join(DEADLINE_SECONDS)
    behind.start()
    behind.join(DEADLINE_SECONDS)
    assert gate.batches == [[0], [1]]  # the item of the one who gave up was withdrawn


def test_a_caller_whose_batch_takes_too_long_is_told_that_it_may_have_run() -> None:
    gates = {0: Gate(held=True), 1: Gate(held=True)}  # by a batch's first item
    batcher: Batcher[int, int] = Batcher(lambda items: gates[items[0]](items), limit_seconds=2)

    def follow() -> None:
        eventually(lambda: batcher.waiting == 1, poll_seconds=0.005)
        with pytest.raises(Abandoned, match="the batch has taken"):
            batcher.submit(2)
        gates[1].open.set()

    def release() -> None:
        eventually(lambda: batcher.waiting == 2, poll_seconds=0.005)
        gates[0].open.set()

    def lead() -> int:
        assert gates[0].entered.wait(DEADLINE_SECONDS)
        return batcher.submit(1)

    assert in_threads([lambda: batcher.submit(0), lead, follow, release]) == [0, 2, None, None]
    assert gates[1].batches == [[1, 2]]


def in_gevent(body: str) -> None:
    """Run `body` in a fresh, monkey-patched process; it must finish without an error."""
    script = "from gevent import monkey; monkey.patch_all()\nimport gevent\n"
    script += "from app.database.batching import Abandoned, Batcher\n" + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_greenlets_share_runs() -> None:
    in_gevent(
        """
        batches = []
        def run(items):
            batches.append(len(items)); gevent.sleep(0.01); return [item * 2 for item in items]
        batcher = Batcher(run)
        greenlets = [gevent.spawn(batcher.submit, n) for n in range(100)]
        gevent.joinall(greenlets, timeout=10, raise_error=True)
        assert [g.value for g in greenlets] == [n * 2 for n in range(100)]
        assert batches == [1, 99], batches
        """
    )


def test_a_killed_leader_strands_nobody() -> None:
    in_gevent(
        """
        stuck = True
        def run(items):
            if stuck:
                gevent.sleep(60)
            return items
        batcher = Batcher(run)
        leader = gevent.spawn(batcher.submit, 1); gevent.sleep(0)
        waiting = [gevent.spawn(batcher.submit, n) for n in (2, 3)]; gevent.sleep(0)
        stuck = False
        leader.kill(timeout=5)
        gevent.joinall(waiting, timeout=5, raise_error=True)
        assert [g.value for g in waiting] == [2, 3]
        assert batcher.submit(4) == 4
        """
    )


def test_those_whose_batch_is_killed_are_told_that_it_may_have_run() -> None:
    in_gevent(
        """
        runs = []
        def run(items):
            runs.append(items)
            gevent.sleep(0.05 if len(runs) == 1 else 60)
            return items
        batcher = Batcher(run)
        first = gevent.spawn(batcher.submit, 1); gevent.sleep(0)
        second = gevent.spawn(batcher.submit, 2); third = gevent.spawn(batcher.submit, 3)
        first.get(timeout=5); gevent.sleep(0.05)
        assert runs == [[1], [2, 3]]
        second.kill(timeout=5)
        try:
            third.get(timeout=5)
        except Abandoned:
            pass
        else:
            raise SystemExit("no Abandoned")
        """
    )


def test_a_caller_whose_time_is_up_withdraws_its_item() -> None:
    in_gevent(
        """
        runs = []
        def run(items):
            runs.append(items); gevent.sleep(0.2); return items
        batcher = Batcher(run)
        def impatient():
            with gevent.Timeout(0.02, False):
                batcher.submit(2)
        greenlets = [gevent.spawn(batcher.submit, 1), gevent.spawn(impatient), gevent.spawn(batcher.submit, 3)]
        gevent.joinall(greenlets, timeout=5, raise_error=True)
        assert runs == [[1], [3]], runs
        """
    )


def test_a_caller_killed_just_as_it_is_given_the_lead_passes_it_on() -> None:
    in_gevent(
        """
        runs = []
        def run(items):
            runs.append(items); gevent.sleep(0.05)
            if items == [1]:
                heir.kill(block=False)  # so the kill is on its way already when the lead is given
            return items
        batcher = Batcher(run)
        first = gevent.spawn(batcher.submit, 1); gevent.sleep(0)
        heir = gevent.spawn(batcher.submit, 2); gevent.sleep(0)
        last = gevent.spawn(batcher.submit, 3); gevent.sleep(0)
        assert last.get(timeout=5) == 3
        assert heir.dead
        assert runs == [[1], [3]], runs
        """
    )


class Gates:
    """A run whose batches each wait to be let through. begun: the items of each, in the order in which they began."""

    def __init__(self, **options: Any) -> None:
        self.begun: list[list[str]] = []
        self.open: dict[str, threading.Event] = {}
        self.batcher: Batcher[str, str] = Batcher(self._run, lane_of=lambda item: item[0], **options)

    def _run(self, items: list[str]) -> list[str]:
        self.begun.append(items)
        assert self.open.setdefault(items[0], threading.Event()).wait(10)
        return items

    def let(self, first: str) -> None:
        self.open.setdefault(first, threading.Event()).set()


def test_lanes_run_side_by_side_and_each_by_itself() -> None:
    gates = Gates(most_runs=2)
    with ThreadPoolExecutor(8) as pool:
        a1 = pool.submit(gates.batcher.submit, "a1")
        eventually(lambda: gates.begun == [["a1"]])
        b1 = pool.submit(gates.batcher.submit, "b1")  # does not wait for a
        eventually(lambda: gates.begun == [["a1"], ["b1"]])
        rest = []
        for count, name in enumerate(("a2", "c1", "b2"), 1):
            rest.append(pool.submit(gates.batcher.submit, name))
            eventually(lambda count=count: gates.batcher.waiting == count)
        gates.let("b1")
        assert b1.result(10) == "b1"
        eventually(lambda: len(gates.begun) == 3)
        assert gates.begun[2] == ["c1", "b2"]  # a is still running
        gates.let("c1")
        gates.let("a1")
        gates.let("a2")
        assert [one.result(10) for one in (a1, *rest)] == ["a1", "a2", "c1", "b2"]
    assert (gates.batcher.running, gates.batcher.waiting) == (False, 0)


def test_lanes_take_turns_in_a_batch_that_cannot_hold_all() -> None:
    gates = Gates(max_weight=4)
    names = ["a2", "a3", "a4", "a5", "a6", "b1", "b2", "c1"]
    with ThreadPoolExecutor(16) as pool:
        running = [pool.submit(gates.batcher.submit, "a1")]
        eventually(lambda: gates.batcher.running)
        for count, name in enumerate(names, 1):
            running.append(pool.submit(gates.batcher.submit, name))
            eventually(lambda count=count: gates.batcher.waiting == count)
        for first in ("a1", "a2", "a4"):
            gates.let(first)
        assert [one.result(10) for one in running] == ["a1", *names]
    assert gates.begun == [["a1"], ["a2", "b1", "c1", "a3"], ["a4", "b2", "a5", "a6"]]
