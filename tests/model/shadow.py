"""The reference beside the real rows: every operation is done to both, and then they must say the same.

Workers are real drains. Each of their transactions is compared before it is committed, and what follows from it is kept
until they have done it. Times are compared exactly: each transaction tells the reference its now().
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.core.problem import Problem
from app.core.webhook.fairness import PROBE_PLACES, SLOW_PLACES
from app.core.webhook.retry import Outcome
from app.delivery import deliveries, endpoint_health, endpoints
from app.delivery.drain import Phase
from tests.delivery.world import World
from tests.model import adapter, reference
from tests.model.adapter import DELAYS, JITTER, LEASE_SECONDS, Answer, Asked, Worker, as_reference
from tests.model.reference import Endpoint, Row, Rules, Token

BROKE: Answer = (Outcome.PROTOCOL_ERROR, None, None)


class Shadow:
    """The rows of one workspace with two endpoints, three workers, and what the reference says of them."""

    def __init__(self, world: World, events: int, rules: Rules) -> None:
        """events: how many deliveries each endpoint has. rules: those that the reference goes by."""
        self.world, self.clock, self._rules = world, 0.0, rules
        self.endpoint_ids = sorted(world.endpoint(f"http://127.0.0.1:{port}/") for port in (1, 2))
        for _ in range(events):
            world.publish()  # each in a transaction of its own, so that no two are due at the same moment
        rows = world.sql("SELECT id, endpoint_id, event_id FROM deliveries ORDER BY id")
        self.ids = [row.id for row in rows]
        self._endpoint_of = {row.id: row.endpoint_id for row in rows}
        self._event_of = {row.id: row.event_id for row in rows}
        self._expired: set[str] = set()
        self._endpoints = dict.fromkeys(self.endpoint_ids, Endpoint())
        # By lease, what the delivery was claimed for; by attempt, what it was made for.
        self._claimed_for: dict[tuple[str, Token], str] = {}
        self._made_for: dict[str, str] = {}
        self._locked: list[set[str]] = []  # the rows that transactions have which are open now
        self._owed: dict[Worker, set[tuple[str, ...]]] = {}  # what has to follow from what a worker has committed
        self._decided: dict[Worker, dict[str, int]] = {}  # how it has to share the places, when that is left to it
        self._has_shared: set[Worker] = set()
        # The third has hardly a place left, so that what there is has to be divided.
        crowds: list[dict[adapter.Lane, int]] = [{}, {}, {"fast": PROBE_PLACES - 1, "slow": SLOW_PLACES - 1}]
        self.workers = [Worker(world, self, lambda: self.clock, taken) for taken in crowds]
        with world.database.begin() as connection:
            self.rows = adapter.read(connection)

    # What is done to both

    def claim(self, number: int, *, fast_only: bool = False, accidents: Sequence[str] = ()) -> None:
        """A worker claims, and records what it has not recorded yet. accidents: what happens to its calls."""
        self._round(number, "closing" if fast_only else "open", accidents)

    def claim_beside(self, number: int, other: int, *, commits: bool) -> None:
        """Two workers claim at the same time. commits: whether the first one's transaction does, after the other's."""
        accidents = [] if commits else ["", "refused"] if self.workers[number].taken else ["refused"]
        self._round(number, "open", accidents, beside=partial(self._round, other, "open"))

    def record(self, number: int, count: int, answer: Answer, *, accidents: Sequence[str] = ()) -> None:
        """The first ones that a worker has sent are answered, and it records that."""
        self.workers[number].answer(count, answer)
        self._round(number, "closed", accidents)

    def record_rest(self, number: int) -> None:
        """A worker records what it could not record before."""
        self._round(number, "closed")

    def record_and_claim(self, number: int, count: int, answer: Answer, *, accidents: Sequence[str] = ()) -> None:
        """The same in one call."""
        self.workers[number].answer(count, answer)
        self._round(number, "open", accidents)

    def record_beside(self, number: int, other: int, answer: Answer) -> None:
        """A worker records while another's claim holds the rows that have become due; what is locked waits."""
        self._round(other, "open", beside=partial(self.record, number, len(self.ids), answer))

    def lose_claims(self, number: int, count: int) -> None:
        """A worker is killed after its claim, again and again."""
        for _ in range(count):
            self.claim(number)
            self.kill(number)
            self.let_pass(LEASE_SECONDS + 1)

    def overtake(self, number: int, other: int, late: Answer, then: Answer) -> None:
        """A worker sleeps for longer than its lease, and another claims the same rows. The late one records first."""
        self.claim(number)
        self.let_pass(LEASE_SECONDS + 1)
        self.claim(other)
        self.record(number, len(self.ids), late)
        self.record(other, len(self.ids), then)

    def give_up_beside(self, number: int, other: int, answer: Answer) -> None:
        """A worker claims, and before it ends what is hopeless, another records an answer that it had all the time."""
        beside = partial(self.record, other, len(self.ids), answer)
        self._round(number, "open", before_next=beside)

    def resend(self, number: int, count: int, *, accidents: Sequence[str] = ()) -> None:
        """The connections of the first that a worker holds break, and it sends them once more at once."""
        self.workers[number].answer(count, BROKE, breaks=True)
        self._round(number, "closed", accidents)

    def kill(self, number: int) -> None:
        self.workers[number].restart()

    def let_pass(self, seconds: float) -> None:
        span = timedelta(seconds=seconds)
        self.world.let_pass(span)
        self.clock += seconds
        for worker in self.workers:
            worker.let_pass(span)
        for id, row in self.rows.items():
            self.rows[id] = row._replace(
                due_at=row.due_at if row.due_at == reference.FOR_EVER else row.due_at - span,
                leased_until=row.leased_until and row.leased_until - span,
                window_started_at=row.window_started_at - span,
                deadline_at=row.deadline_at - span,
                finished_at=row.finished_at and row.finished_at - span,
            )
        self.check()

    def retry(self, index: int) -> None:
        """A person retries a delivery."""
        id = self.ids[index % len(self.ids)]
        window = timedelta(seconds=self.world.settings.delivery_window_seconds)
        with self.world.database.session() as session:
            began = session.execute(text("SELECT now()")).scalar_one()
            seconds = self.world.settings.delivery_window_seconds
            with (
                nullcontext() if self._endpoint(id).status == "enabled" else pytest.raises(Problem, match="endpoint is")
            ):
                deliveries.retry_delivery(session, self.world.workspace_id, id, window_seconds=seconds)
            after = adapter.read(session.connection())[id]
            # It goes by the clock, and not by when its transaction began, which may have waited for a lock since.
            is_due = after.status == "pending" and after.due_at != self.rows[id].due_at
            now = after.due_at if is_due else began
            assert began <= now <= session.execute(text("SELECT clock_timestamp()")).scalar_one()
        self.rows[id] = reference.retry_by_person(self.rows[id], self._endpoint(id), now, window, self._rules)
        self.check()

    def change(self, index: int, status: str | None) -> None:
        """A person enables, disables or deletes (None) an endpoint."""
        endpoint_id = self.endpoint_ids[index % len(self.endpoint_ids)]
        before = self._endpoints[endpoint_id]
        if before.status is None or before.status == status:
            return
        with self.world.database.session() as session:
            now = session.execute(text("SELECT now()")).scalar_one()
            if status is None:
                endpoints.delete_endpoint(session, self.world.workspace_id, endpoint_id)
                after = Endpoint(None)
            else:
                wanted = {"status": status}
                row = endpoints.change_endpoint(
                    session, self.world.settings, self.world.workspace_id, endpoint_id, wanted
                )
                after = Endpoint(row.status, row.disabled_reason)
        self._endpoints[endpoint_id] = after
        if status != "enabled":
            self._cancel(endpoint_id, now)
        self.check()

    def answer_like(self, index: int, outcome: str | None) -> None:
        """An endpoint's last attempt ended so, which decides its lane."""
        endpoint_id = self.endpoint_ids[index % len(self.endpoint_ids)]
        self.world.sql("UPDATE endpoints SET last_outcome = %(o)s WHERE id = %(id)s", o=outcome, id=endpoint_id)

    def expire(self, index: int) -> None:
        """An event is past retention."""
        event_id = self._event_of[self.ids[index % len(self.ids)]]
        self.world.sql("DELETE FROM events WHERE id = %(id)s", id=event_id)
        self._expired.add(event_id)

    def make_test(self, index: int) -> None:
        """A delivery is one of a test event. That has been decided before anybody claims it."""
        id = self.ids[index % len(self.ids)]
        if self.rows[id].lease_token is not None:
            return
        self.world.sql("UPDATE deliveries SET trigger = 'test' WHERE id = %(id)s", id=id)
        self.world.sql("UPDATE due SET trigger = 'test' WHERE delivery_id = %(id)s", id=id)
        self.rows[id] = self.rows[id]._replace(trigger="test")

    def check(self) -> None:
        """The rows are what the reference says."""
        with self.world.database.begin() as connection:
            assert adapter.read(connection) == _visible(self.rows)

    def check_log(self) -> None:
        """Each attempt is in the log once, as what it was claimed for; and no delivery contradicts its row of `due`."""
        logged = {row.id: row.trigger for row in self.world.attempts()}
        assert logged == self._made_for
        assert self.world.contradictions() == []

    # What a worker does

    def called(self, worker: Worker, connection: Connection, asked: Asked) -> Callable[[bool, bool], None]:
        """It has recorded and claimed."""
        now, after = adapter.now_of(connection), adapter.read(connection)
        expected = dict(self.rows)
        owed, made_for = self._recorded(connection, expected, asked, now)
        if asked.claims:
            owed |= self._claimed(worker, connection, expected, asked, now, after)
        assert after == _visible(expected)
        changed = {id: row for id, row in expected.items() if row != self.rows[id]}
        locked = {exchange.claimed.id for exchange, _ in asked.exchanges} | changed.keys()
        self._locked.append(locked)

        def settle(is_committed: bool, is_known: bool) -> None:
            self._locked.remove(locked)
            if is_committed:
                self.rows.update(changed)
                self._made_for |= made_for
            if is_known:
                self._owed[worker] |= owed

        return settle

    def failed(self, worker: Worker, connection: Connection, reasons: dict[str, str]) -> None:
        """It has ended rows that were hopeless."""
        now = adapter.now_of(connection)
        for id, reason in reasons.items():
            tokens = [owed[3] for owed in self._owed[worker] if owed[:3] == ("fail", id, reason)]
            assert len(tokens) == 1
            self._does(worker, "fail", id, reason, tokens[0])
            self.rows[id] = reference.fail(self.rows[id], tokens[0], reason, now)

    def cancelled(self, worker: Worker, connection: Connection, endpoint_id: str) -> None:
        """It has cancelled what an endpoint that has ended has pending."""
        self._does(worker, "cancel", endpoint_id)
        self._cancel(endpoint_id, adapter.now_of(connection))

    def disabled(self, worker: Worker, endpoint_id: str, reason: str) -> None:
        """It has disabled an endpoint that has said that it is gone."""
        self._does(worker, "disable", endpoint_id)
        self._owed[worker].add(("cancel", endpoint_id))
        self._endpoints[endpoint_id] = Endpoint("disabled", reason)
        assert reason in (endpoint_health.GONE, endpoint_health.BY_RECEIVER)

    # How

    def _round(
        self,
        number: int,
        phase: Phase,
        accidents: Sequence[str] = (),
        *,
        beside: Callable[[], None] | None = None,
        before_next: Callable[[], None] | None = None,
    ) -> None:
        worker = self.workers[number]
        line = worker.line
        line.accidents, line.beside, line.before_next = list(accidents), beside, before_next
        self._owed[worker] = set()
        self._decided.pop(worker, None)
        self._has_shared.discard(worker)
        try:
            worker.round(phase)
        except DBAPIError:
            assert accidents
        else:
            assert self._owed[worker] == set()
            assert worker in self._has_shared or not self._decided.get(worker)
        line.accidents, line.beside, line.before_next = [], None, None
        self.check()

    def _does(self, worker: Worker, *what: str) -> None:
        assert what in self._owed[worker], "nothing that it has committed leads to this"
        self._owed[worker].remove(what)

    def _recorded(
        self, connection: Connection, expected: dict[str, Row], asked: Asked, now: datetime
    ) -> tuple[set[tuple[str, ...]], dict[str, str]]:
        """Record as the reference does; what has to follow, and what the new attempts were made for."""
        locked, owed, made_for, left = set().union(*self._locked), set[tuple[str, ...]](), dict[str, str](), []
        for number, (exchange, is_doubtful) in enumerate(asked.exchanges):
            id = exchange.claimed.id
            if id in locked:
                left.append(number)
                continue
            before, endpoint, is_known = expected[id], self._endpoint(id), exchange.attempt_id in self._made_for
            assert is_doubtful or not is_known
            expected[id], is_gone = reference.record(
                before,
                as_reference(exchange),
                now,
                DELAYS,
                self._rules,
                decided_at=asked.decided_at,
                jitter=JITTER,
                is_doubtful=is_doubtful,
                is_known=is_known,
            )
            if not is_known:
                made_for[exchange.attempt_id] = self._claimed_for[id, exchange.claimed.lease_token]
            is_to_come = expected[id].status == "pending" and expected[id].lease_token != before.lease_token
            if is_to_come and endpoint.status != "enabled":
                owed.add(("cancel", self._endpoint_of[id]))
            is_told = exchange.ended_at >= adapter.changed_at(connection, self._endpoint_of[id])
            if is_gone and endpoint.status == "enabled" and is_told:
                owed.add(("disable", self._endpoint_of[id]))
        assert sorted(asked.recorded.get("locked") or []) == left
        return owed, made_for

    def _claimed(
        self,
        worker: Worker,
        connection: Connection,
        rows: dict[str, Row],
        asked: Asked,
        now: datetime,
        after: dict[str, Row],
    ) -> set[tuple[str, ...]]:
        """Claim in `rows` as the reference does; what has to follow."""
        owed, locked = set[tuple[str, ...]](), set().union(*self._locked)
        if again := [id for id in self.ids if asked.again and reference.is_held(rows[id], asked.token)]:
            assert asked.taken == set(again) - locked
            for id in asked.taken:
                rows[id] = reference.lease_again(rows[id], now, timedelta(seconds=LEASE_SECONDS), self._rules)
                owed |= self._owed_for(id, rows[id], asked.token)
            return owed
        due = [id for id in self.ids if reference.is_due(rows[id], now)]
        asking = Counter(self._endpoint_of[id] for id in due)
        enabled = [id for id in asking if self._endpoints[id].status == "enabled"]
        if asked.granted is None:
            lanes = worker.lanes(connection, enabled)
            if asked.leaves:  # among equals, the first one in the answer's order comes first
                assert sorted(asked.askers) == sorted(enabled)
                lanes = {id: lanes[id] for id in asked.askers}
            most = worker.slots.shares({id: lane for id, lane in lanes.items() if lane in asked.lanes}, asking).rows
            assert asked.ended == asking.keys() - set(enabled)
            owed |= {("cancel", id) for id in asked.ended}
        else:
            assert asked.granted == self._decided[worker]
            most = asked.granted
            self._has_shared.add(worker)
        assert asked.may_go_alone == (not worker.slots.in_flight)
        if asked.leaves:
            self._decided[worker] = dict(most)
            assert not asked.taken
            return owed
        free = [id for id in due if self._endpoint_of[id] in enabled and id not in locked]
        picked = [id for id in free if after[id].claims > rows[id].claims]
        suspects = [id for id in free if reference.is_suspect(rows[id], self._rules)]
        for endpoint_id in enabled:
            ordinary = [id for id in free if self._endpoint_of[id] == endpoint_id and id not in suspects]
            taken = [id for id in ordinary if id in picked]
            assert _is_oldest(rows, ordinary, taken, most.get(endpoint_id, 0))
        alone = [id for id in picked if id in suspects]
        assert len(alone) == bool(suspects and asked.may_go_alone and len(picked) == len(alone))
        assert asked.taken == set(picked)
        for id in picked:
            self._claimed_for[id, asked.token] = rows[id].trigger
            rows[id] = reference.lease(rows[id], now, timedelta(seconds=LEASE_SECONDS), asked.token, self._rules)
            owed |= self._owed_for(id, rows[id], asked.token)
        return owed

    def _owed_for(self, id: str, leased: Row, token: str) -> set[tuple[str, ...]]:
        has_event = self._event_of[id] not in self._expired
        reason = reference.why_hopeless(leased, self._rules, has_event=has_event)
        return {("fail", id, reason, token)} if reason else set()

    def _cancel(self, endpoint_id: str, now: datetime) -> None:
        locked = set().union(*self._locked)
        for id in self.ids:
            if self._endpoint_of[id] == endpoint_id and id not in locked:
                self.rows[id] = reference.cancel(self.rows[id], self._endpoints[endpoint_id], now, self._rules)

    def _endpoint(self, delivery_id: str) -> Endpoint:
        return self._endpoints[self._endpoint_of[delivery_id]]


def _visible(rows: dict[str, Row]) -> dict[str, Row]:
    return {id: adapter.visible(row) for id, row in rows.items()}


def _is_oldest(rows: dict[str, Row], free: list[str], picked: list[str], most: int) -> bool:
    """Whether these are as many of the free rows as may be, and none of the others has been due for longer."""
    if len(picked) != min(most, len(free)):
        return False
    left = [rows[id].due_at for id in free if id not in picked]
    return not picked or not left or max(rows[id].due_at for id in picked) <= min(left)
