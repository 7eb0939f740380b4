"""The reference beside the real rows: every operation is done to both, and then they must say the same.

Times are compared exactly: each operation on the rows tells the reference its transaction's now().
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from app.core.problem import Problem
from app.core.webhook.fairness import PROBE_PLACES, SLOW_PLACES
from app.core.webhook.retry import Outcome
from app.delivery import deliveries, endpoint_health, endpoints
from app.delivery.attempts import Exchange
from app.delivery.claims import Claimed
from tests.delivery.world import World
from tests.model import adapter, reference
from tests.model.adapter import DELAYS, JITTER, LEASE_SECONDS, Answer, Worker, as_reference, exchange_of
from tests.model.reference import Endpoint, Row, Rules

_DISABLE = "UPDATE endpoints SET status = 'disabled', disabled_reason = %(reason)s WHERE id = %(id)s"


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
        self._outcomes: dict[str, str | None] = dict.fromkeys(self.endpoint_ids)
        # The third has hardly a place left, so that what there is has to be divided.
        self.workers = [Worker({}), Worker({}), Worker({"fast": PROBE_PLACES - 1, "slow": SLOW_PLACES - 1})]
        with world.database.begin() as connection:
            self.rows = adapter.read(connection)

    # What is done to both

    def claim(self, number: int, *, fast_only: bool = False, commits: bool = True) -> None:
        """A worker claims. commits: or its transaction is rolled back."""
        with self.world.database.begin() as connection:
            transaction = connection.get_transaction()
            found, rows = self._claimed(connection, self.workers[number], self.rows, set(), fast_only)
            if not commits:
                assert transaction is not None
                transaction.rollback()
        if commits:
            self._took(self.workers[number], found, rows)
        self.check()

    def claim_beside(self, number: int, other: int, *, commits: bool) -> None:
        """Two workers claim at the same time. commits: whether the first one's transaction does, after the other's."""
        first, second = self.workers[number], self.workers[other]
        with self.world.database.begin() as one, self.world.database.begin() as two:
            transaction = one.get_transaction()
            found, rows = self._claimed(one, first, self.rows, set(), False)
            changed = {id for id in self.ids if rows[id] != self.rows[id]}
            also_found, also_rows = self._claimed(two, second, self.rows, changed, False)
            if not commits:
                assert transaction is not None
                transaction.rollback()
        if commits:
            also_rows = also_rows | {id: rows[id] for id in changed}
        self._took(second, also_found, also_rows)
        if commits:
            self._took(first, found, also_rows)
        self.check()

    def record(self, number: int, count: int, answer: Answer, *, commits: bool = True) -> None:
        """A worker records an answer to the first ones that it holds. commits: or the transaction is rolled back."""
        worker = self.workers[number]
        exchanges = [exchange_of(claimed, answer) for claimed in worker.held[:count]]
        self._record(worker, exchanges, commits=commits)
        if commits:
            worker.let_go(exchanges, self.clock)
            worker.recorded = exchanges

    def record_beside(self, number: int, other: int, answer: Answer) -> None:
        """A worker records while another's claim holds the rows that have become due; what is locked waits."""
        worker = self.workers[number]
        exchanges = [exchange_of(claimed, answer) for claimed in worker.held]
        with self.world.database.begin() as one, self.world.database.begin() as two:
            found, claimed_rows = self._claimed(one, self.workers[other], self.rows, set(), False)
            changed = {id for id in self.ids if claimed_rows[id] != self.rows[id]}
            rows, left = self._recorded(two, worker, exchanges, changed)
        worker.let_go([exchange for exchange in exchanges if exchange not in left], self.clock)
        self._took(self.workers[other], found, rows | {id: claimed_rows[id] for id in changed})
        self.check()

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

    def record_again(self, number: int) -> None:
        """The answer to a worker's last COMMIT was lost, so it records the same outcomes again."""
        worker = self.workers[number]
        self._record(worker, worker.recorded, commits=True, are_known=True)

    def resend(self, number: int, count: int) -> None:
        """The connections of the first that a worker holds break, and it sends them once more at once."""
        worker = self.workers[number]
        broke = (Outcome.PROTOCOL_ERROR, None, None)
        worker.recorded = [exchange_of(claimed, broke, resent=True) for claimed in worker.held[:count]]
        self._record(worker, worker.recorded, commits=True)

    def kill(self, number: int) -> None:
        self.workers[number].restart(self.clock)

    def let_pass(self, seconds: float) -> None:
        span = timedelta(seconds=seconds)
        self.world.let_pass(span)
        self.clock += seconds
        for worker in self.workers:
            worker.slots.advance(self.clock)
        for id, row in self.rows.items():
            self.rows[id] = row._replace(
                due_at=row.due_at - span,
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
            now = session.execute(text("SELECT now()")).scalar_one()
            seconds = self.world.settings.delivery_window_seconds
            with (
                nullcontext() if self._endpoint(id).status == "enabled" else pytest.raises(Problem, match="endpoint is")
            ):
                deliveries.retry_delivery(session, self.world.workspace_id, id, window_seconds=seconds)
        self.rows[id] = reference.retry_by_person(self.rows[id], self._endpoint(id), now, window, self._rules)
        self.check()

    def change(self, index: int, status: str | None) -> None:
        """A person enables, disables or deletes (None) an endpoint, or it says that it is gone."""
        endpoint_id = self.endpoint_ids[index % len(self.endpoint_ids)]
        before = self._endpoints[endpoint_id]
        if before.status is None or before.status == status or (status == "gone" and before.status != "enabled"):
            return
        with self.world.database.session() as session:
            now = session.execute(text("SELECT now()")).scalar_one()
            if status == "gone":  # the drain disables it; what is pending is cancelled by the next claim that finds it
                after = Endpoint("disabled", endpoint_health.GONE)
                values = {"id": endpoint_id, "reason": after.disabled_reason}
                session.connection().exec_driver_sql(_DISABLE, values)
            elif status is None:
                endpoints.delete_endpoint(session, self.world.workspace_id, endpoint_id)
                after = Endpoint(None)
            else:
                wanted = {"status": status}
                row = endpoints.change_endpoint(
                    session, self.world.settings, self.world.workspace_id, endpoint_id, wanted
                )
                after = Endpoint(row.status, row.disabled_reason)
        self._endpoints[endpoint_id] = after
        if status == "enabled":
            self._outcomes[endpoint_id] = None
        elif status != "gone":
            self._cancel(self.rows, endpoint_id, now, set())
        self.check()

    def answer_like(self, index: int, outcome: str | None) -> None:
        """An endpoint's last attempt ended so, which decides its lane."""
        endpoint_id = self.endpoint_ids[index % len(self.endpoint_ids)]
        self.world.sql("UPDATE endpoints SET last_outcome = %(o)s WHERE id = %(id)s", o=outcome, id=endpoint_id)
        self._outcomes[endpoint_id] = outcome

    def expire(self, index: int) -> None:
        """An event is past retention."""
        event_id = self._event_of[self.ids[index % len(self.ids)]]
        self.world.sql("DELETE FROM events WHERE id = %(id)s", id=event_id)
        self._expired.add(event_id)

    def make_test(self, index: int) -> None:
        """A delivery is one of a test event."""
        id = self.ids[index % len(self.ids)]
        self.world.sql("UPDATE deliveries SET trigger = 'test' WHERE id = %(id)s", id=id)
        self.rows[id] = self.rows[id]._replace(trigger="test")

    def check(self) -> None:
        """The rows are what the reference says."""
        with self.world.database.begin() as connection:
            assert adapter.read(connection) == self.rows

    # How

    def _claimed(
        self, connection: Connection, worker: Worker, rows: dict[str, Row], locked: set[str], fast_only: bool
    ) -> tuple[list[Claimed], dict[str, Row]]:
        """Claim really, and then as the reference does; what was claimed, and the rows as they are now."""
        now = adapter.now_of(connection)
        found = worker.claim(connection, fast_only=fast_only)
        after = adapter.read(connection)
        expected = dict(rows)
        due = [id for id in self.ids if reference.is_due(rows[id], now)]
        asking = [id for id in self.endpoint_ids if any(self._endpoint_of[row] == id for row in due)]
        for endpoint_id in asking:
            if self._endpoints[endpoint_id].status != "enabled":
                self._cancel(expected, endpoint_id, now, locked)
        outcomes = {id: self._outcomes[id] for id in asking if self._endpoints[id].status == "enabled"}
        lanes, most = worker.may_take(outcomes, fast_only=fast_only)
        free = [id for id in due if self._endpoint_of[id] in outcomes and id not in locked]
        picked = [id for id in free if after[id].claims > rows[id].claims]
        suspects = [id for id in free if reference.is_suspect(rows[id], self._rules)]
        for endpoint_id in outcomes:
            ordinary = [id for id in free if self._endpoint_of[id] == endpoint_id and id not in suspects]
            taken = [id for id in ordinary if id in picked]
            assert _is_oldest(rows, ordinary, taken, most.get(endpoint_id, 0))
        alone = [id for id in picked if id in suspects]
        sends_others = any(not claimed.alone for claimed in found)
        assert len(alone) == bool(suspects and not sends_others and not worker.slots.in_flight)
        token = found[0].lease_token if found else "none was sent"
        for id in picked:
            expected[id] = reference.lease(rows[id], now, timedelta(seconds=LEASE_SECONDS), token, self._rules)
            if expected[id].status == "pending" and self._event_of[id] in self._expired:
                expected[id] = reference.expire(expected[id], now)
        assert after == expected
        assert {claimed.id for claimed in found} == {id for id in picked if after[id].status == "pending"}
        assert all(claimed.lane == lanes[claimed.endpoint_id] for claimed in found)
        assert all(claimed.alone == (claimed.id in alone) for claimed in found)
        return found, after

    def _took(self, worker: Worker, found: Sequence[Claimed], rows: dict[str, Row]) -> None:
        worker.take(found, self.clock)
        self.rows = rows

    def _record(self, worker: Worker, exchanges: Sequence[Exchange], *, commits: bool, are_known: bool = False) -> None:
        with self.world.database.begin() as connection:
            transaction = connection.get_transaction()
            rows, locked = self._recorded(connection, worker, exchanges, set(), are_known=are_known)
            assert locked == []
            if not commits:
                assert transaction is not None
                transaction.rollback()
        if commits:
            self.rows = rows
        self.check()

    def _recorded(
        self,
        connection: Connection,
        worker: Worker,
        exchanges: Sequence[Exchange],
        locked: set[str],
        *,
        are_known: bool = False,
    ) -> tuple[dict[str, Row], list[Exchange]]:
        """Record really, and as the reference does; the rows as they are now, and what is left because of locks."""
        expected, gone, now = dict(self.rows), [], adapter.now_of(connection)
        really_gone, left = worker.record(connection, exchanges, are_known=are_known)
        assert [exchange.claimed.id for exchange in left] == [e.claimed.id for e in exchanges if e.claimed.id in locked]
        for exchange in exchanges:
            id = exchange.claimed.id
            if id not in locked:
                expected[id], is_gone = reference.record(
                    expected[id],
                    self._endpoint(id),
                    as_reference(exchange),
                    now,
                    DELAYS,
                    self._rules,
                    jitter=JITTER,
                    is_known=are_known,
                )
                gone.append(is_gone)
        assert adapter.read(connection) == expected
        assert really_gone == gone
        return expected, left

    def _cancel(self, rows: dict[str, Row], endpoint_id: str, now: datetime, locked: set[str]) -> None:
        for id in self.ids:
            if self._endpoint_of[id] == endpoint_id and id not in locked:
                rows[id] = reference.cancel(rows[id], self._endpoints[endpoint_id], now, self._rules)

    def _endpoint(self, delivery_id: str) -> Endpoint:
        return self._endpoints[self._endpoint_of[delivery_id]]


def _is_oldest(rows: dict[str, Row], free: list[str], picked: list[str], most: int) -> bool:
    """Whether these are as many of the free rows as may be, and none of the others has been due for longer."""
    if len(picked) != min(most, len(free)):
        return False
    left = [rows[id].due_at for id in free if id not in picked]
    return not picked or not left or max(rows[id].due_at for id in picked) <= min(left)
