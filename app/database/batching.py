"""Calls that arrive at the same moment share one run: group commit, and one query for many look-ups.

The first caller in leads: it runs the batch of everybody queued so far (at first itself alone) and hands the lead to
the first of those who queued meanwhile. Callers of different lanes (workspaces) need not wait for each other: several
batches may run at once, no two of them with items of one lane; and in one batch, lanes take turns.

No thread or greenlet of its own, so nothing has to be started, stopped or forked; built on `threading` attributes
looked up at each call, so it works with plain threads and, after gevent's monkey patching, with greenlets.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from app.database.patience import within

In = TypeVar("In")
Out = TypeVar("Out")

MAX_WEIGHT = 256  # items in one run: big enough to hide a commit, small enough to keep a transaction short
LIMIT_SECONDS = 12.0  # of one call, in which a database that restarts or fails over has often come back


class Abandoned(RuntimeError):
    """The caller that was running this item's batch was killed in the middle, or has taken too long: the item may or
    may not have taken effect."""


class _Slot(Generic[In, Out]):
    """One waiting caller: its item, then its outcome (or its promotion to leader). asleep: held until then; None for
    one that leads from the beginning, as most do who come alone. A lock, because an Event takes longer to make."""

    __slots__ = ("asleep", "error", "item", "lane", "leads", "result")

    def __init__(self, item: In, lane: Hashable) -> None:
        self.item = item
        self.lane = lane
        self.asleep: threading.Lock | None = None
        self.leads = False
        self.result: Out | None = None
        self.error: BaseException | None = None

    def fall_asleep(self) -> None:
        """From now on it waits to be woken."""
        self.asleep = threading.Lock()
        self.asleep.acquire()

    def wake(self) -> None:
        """Its outcome or its promotion is there. Called for the latter first, and never by two at once."""
        if self.asleep is not None and self.asleep.locked():
            self.asleep.release()

    def outcome(self) -> Out:
        if self.error is not None:
            try:
                raise self.error
            finally:  # or it, its traceback, the frames there and this slot would keep each other, and the item
                self.error = None
        return self.result  # type: ignore[return-value]  # set by _settle whenever there is no error


class Batcher(Generic[In, Out]):
    """Runs `run` for one batch at a time, or for several where that is allowed.

    run: takes the items, in the order in which they queued, and gives one result or exception for each, in that
    order. An exception that it raises goes to every caller of the batch.
    weigh: what an item counts for against `max_weight` (a batch holds at least one item, however heavy).
    lane_of: whose it is. most_runs: how many batches may run at once.
    limit_seconds: how long a call takes at most. It waits half of that for its batch to begin, so that a caller that is
    given the lead has the other half to run it; the run's waits for the database end with its leader's time.
    """

    def __init__(
        self,
        run: Callable[[list[In]], Sequence[Out | Exception]],
        *,
        max_weight: int = MAX_WEIGHT,
        weigh: Callable[[In], int] = lambda item: 1,
        lane_of: Callable[[In], Hashable] = lambda item: None,
        most_runs: int = 1,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._run = run
        self._limit_seconds = limit_seconds
        self._max_weight = max_weight
        self._weigh = weigh
        self._lock = threading.Lock()
        self._lane_of = lane_of
        self._most_runs = most_runs
        self._queue: deque[_Slot[In, Out]] = deque()
        self._leaders = 0  # how many callers lead now
        self._busy: set[Hashable] = set()  # the lanes of what runs, and of those who have been given the lead

    @property
    def running(self) -> bool:
        """Whether some caller runs a batch now."""
        return self._leaders > 0

    @property
    def waiting(self) -> int:
        """How many items wait for a later batch."""
        return len(self._queue)

    def submit(self, item: In) -> Out:
        """Wait until `item` has been run in some batch; its result, or its exception raised.

        Raises Abandoned when the leader was killed in the middle of the run, and when the time is over. A caller that
        is killed while it waits withdraws its item if no batch has taken it yet.
        """
        ends_at = time.monotonic() + self._limit_seconds
        slot: _Slot[In, Out] = _Slot(item, self._lane_of(item))
        with self._lock:
            self._queue.append(slot)
            self._promote_one(slot)  # whoever waits already waits for his lane, or for there to be fewer leaders
            if not slot.leads:
                slot.fall_asleep()
        if slot.asleep is not None:
            self._wait(slot, slot.asleep, ends_at)
        if slot.leads:
            batch: list[_Slot[In, Out]] = []
            try:
                batch = self._next_batch(slot)
                with within(ends_at - time.monotonic()):
                    self._settle(batch)
            finally:
                self._hand_over(slot, batch)
        return slot.outcome()

    def _wait(self, slot: _Slot[In, Out], asleep: threading.Lock, ends_at: float) -> None:
        """Wait for the outcome or the lead. Raises Abandoned when the time is over."""
        try:
            if asleep.acquire(timeout=self._limit_seconds / 2):
                return
            if self._withdraw(slot):
                raise Abandoned("the batches before have taken too long")
            if not asleep.acquire(timeout=max(0.0, ends_at - time.monotonic())):
                raise Abandoned("the batch has taken too long")
        except BaseException:  # killed (GreenletExit, a timeout, KeyboardInterrupt), or late: nobody may wait for us
            with self._lock:
                if slot in self._queue:
                    self._queue.remove(slot)
            if slot.leads:
                self._hand_over(slot, [])
            raise

    def _withdraw(self, slot: _Slot[In, Out]) -> bool:
        """Take an item back, unless a batch has taken it or its caller has just been given the lead."""
        with self._lock:
            if slot.leads or slot not in self._queue:
                return False
            self._queue.remove(slot)
            return True

    def _next_batch(self, leader: _Slot[In, Out]) -> list[_Slot[In, Out]]:
        """The leader's batch: of its lane, and of others that are free. The lanes take turns, each oldest first."""
        with self._lock:
            lanes: dict[Hashable, deque[_Slot[In, Out]]] = {leader.lane: deque([leader])}
            for slot in self._queue:
                if slot is not leader and (slot.lane == leader.lane or slot.lane not in self._busy):
                    lanes.setdefault(slot.lane, deque()).append(slot)
            batch: list[_Slot[In, Out]] = []
            weight = 0
            while lanes:
                for lane, slots in list(lanes.items()):
                    weight += self._weigh(slots[0].item)
                    if batch and weight > self._max_weight:
                        lanes.clear()
                        break
                    batch.append(slots.popleft())
                    if not slots:
                        del lanes[lane]
            taken = set(map(id, batch))
            self._queue = deque(slot for slot in self._queue if id(slot) not in taken)
            self._busy.update(slot.lane for slot in batch)
        return batch

    def _settle(self, batch: list[_Slot[In, Out]]) -> None:
        """Run a batch and give each of its callers the outcome; wakes them whatever happens."""
        try:
            _give(batch, self._run([slot.item for slot in batch]))
        except Exception as error:
            for slot in batch:
                slot.error = error
        except BaseException:
            for slot in batch:
                slot.error = Abandoned("the caller that ran this batch was stopped")
            raise
        finally:
            for slot in batch:
                slot.wake()

    def _hand_over(self, leader: _Slot[In, Out], batch: Sequence[_Slot[In, Out]]) -> None:
        """Give the lead to the caller who has waited longest, or to nobody."""
        with self._lock:
            self._leaders -= 1
            self._busy.difference_update({leader.lane, *(slot.lane for slot in batch)})
            self._promote()

    def _promote(self) -> None:
        """Give the lead to those who have waited longest."""
        for slot in self._queue:
            if self._leaders >= self._most_runs:
                return
            self._promote_one(slot)

    def _promote_one(self, slot: _Slot[In, Out]) -> None:
        """Give somebody the lead, if there may be one more leader, and his lane is free."""
        if self._leaders < self._most_runs and slot.lane not in self._busy:
            self._leaders += 1
            self._busy.add(slot.lane)
            slot.leads = True
            slot.wake()


def _give(batch: Sequence[_Slot[In, Out]], results: Sequence[Out | Exception]) -> None:
    """Give each caller its result. Not where the run is called: an exception's traceback leads there."""
    if len(results) != len(batch):
        raise RuntimeError(f"the run gave {len(results)} results for {len(batch)} items")
    for slot, result in zip(batch, results, strict=True):
        if isinstance(result, Exception):
            slot.error = result
        else:
            slot.result = result
