"""Claims: which due deliveries a drain may send now, taken in one transaction.

A claim moves `due_at` forward by the lease and writes a fresh `lease_token`, so nobody else takes the row meanwhile;
if the worker dies, the row is due again when the lease ends. Who gets how much is decided between two statements, in
core.slots and core.window: the first statement finds the endpoints that have something due, however much one of them
has; the second takes the rows. Times are the database's.

Lanes are shares of one drain's places and not Celery queues: a queue would need processes of its own that idle while
the other lane is full, and a wake-up would have to know what is due.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from app.core.webhook import fairness
from app.core.webhook.fairness import Lane, Slots, divide
from app.database.partitions import partition_name, partitions_of, week_of
from app.delivery import deliveries

# The statements below must use their indexes whatever the statistics say, which change faster than anybody can
# analyse. Compiling them takes longer than running them.
DATABASE_OPTIONS = (
    "-c jit=off -c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)

# Endpoints that one claim looks at; the next goes on where it stopped. About 10 ms when all of them have rows due.
MOST_ENDPOINTS = 256
# Rows of disabled and deleted endpoints that one claim cancels: some 80 ms, for which all others' deliveries wait.
MOST_CANCELLED = 1000
# Claims without an attempt: the row kills or freezes its worker, and must not take the next one along.
MOST_LOST_CLAIMS = 5


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """How to reach an endpoint, as it is stored. sealed_secrets: those that sign now, newest first."""

    url: str
    sealed_headers: bytes | None
    sealed_secrets: Sequence[bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """A delivery that this drain has to send now. claimed_at: the database's time, which the attempt carries."""

    id: str
    created_at: datetime
    workspace_id: str
    endpoint_id: str
    event_id: str
    lease_token: str
    lane: Lane
    claimed_at: datetime
    target: EndpointAddress
    body: bytes


@dataclass(slots=True)
class Claim:
    """The outcome of one claim.

    more: there may be rows that could be taken at once. wait_seconds: when a rate limit allows the next row that it
    held back, None if it held none back.
    """

    rows: list[Claimed] = field(default_factory=list)
    more: bool = False
    wait_seconds: float | None = None


class Claimer:
    """Claims for one drain; remembers where it stopped, so that every endpoint has its turn."""

    def __init__(self, *, lease_seconds: int) -> None:
        self._lease = timedelta(seconds=lease_seconds)
        self._cursor = ""
        self._ending: dict[str, None] = {}  # a set in the order in which they came

    @property
    def is_cancelling(self) -> bool:
        """Whether an endpoint that has ended may have more pending than has been cancelled."""
        return bool(self._ending)

    def end(self, endpoint_ids: Iterable[str]) -> None:
        """These endpoints have been disabled: cancel what they have pending, a part of it with each claim."""
        self._ending.update(dict.fromkeys(endpoint_ids))

    def claim(self, connection: Connection, slots: Slots, *, fast_only: bool = False) -> Claim:
        """Take due rows for the free places. The caller's transaction must be short, and commit before sending.

        fast_only: nothing for endpoints of the slow lane.
        """
        candidates, complete = self._candidates(connection)
        alive = [row for row in candidates if row.status == "enabled"]
        self.end(row.endpoint_id for row in candidates if row.status != "enabled")
        self._cancel(connection)
        claim = Claim(more=not complete or self.is_cancelling)
        lanes = {row.endpoint_id: _lane(row, slots) for row in alive}
        grants = _grants(alive, lanes, slots, fast_only)
        rates = self._limit_rates(connection, alive, grants, claim)
        if grants:
            token = str(uuid.uuid4())
            taken = self._take(connection, grants, token)
            counts = Counter(row.endpoint_id for row in taken)
            claim.more |= any(counts[endpoint_id] == most for endpoint_id, most in grants.items())
            _spend_rates(connection, rates, counts)
            claim.rows = self._complete(connection, taken, token, lanes)
        return claim

    def _cancel(self, connection: Connection) -> None:
        """Cancel as much of what ended endpoints have pending as one claim may."""
        if not self._ending:
            return
        left = MOST_CANCELLED
        for row in connection.exec_driver_sql(_ENDING, {"ids": list(self._ending)}).all():
            if row.status != "enabled" and left:  # else a person has enabled it meanwhile
                reason = deliveries.why_cancelled(row.status, row.disabled_reason)
                left -= deliveries.cancel_pending(connection, row.id, reason, most=left)
            if left:
                del self._ending[row.id]

    def _candidates(self, connection: Connection) -> tuple[list[Row[Any]], bool]:
        """Endpoints with a row due, from where the last claim stopped; and whether that is all of them."""
        found = self._walk(connection, self._cursor, MOST_ENDPOINTS)
        complete = len(found) < MOST_ENDPOINTS
        if complete and self._cursor:  # the end is reached: on from the start, until this claim's own first ones come
            again = self._walk(connection, "", MOST_ENDPOINTS - len(found))
            known = {row.endpoint_id for row in found}
            earlier = [row for row in again if row.endpoint_id not in known]
            complete = len(earlier) < len(again) or len(found) + len(again) < MOST_ENDPOINTS
            found += earlier
        self._cursor = "" if complete else found[-1].endpoint_id
        return found, complete

    def _walk(self, connection: Connection, after: str, most: int) -> list[Row[Any]]:
        return list(connection.exec_driver_sql(_WALK, {"after": after, "most": most}))

    def _limit_rates(
        self, connection: Connection, alive: Sequence[Row[Any]], grants: dict[str, int], claim: Claim
    ) -> dict[str, _Rate]:
        """Cut the grants of rate-limited endpoints to what their limits allow now; their rows stay locked."""
        limited = [row.endpoint_id for row in alive if row.rate_limit is not None and row.endpoint_id in grants]
        if not limited:
            return {}
        rates = {
            row.id: _Rate(float(row.now), row.rate_tat, row.rate_limit)
            for row in connection.exec_driver_sql(_LOCK_RATES, {"ids": limited})
        }
        for endpoint_id in limited:
            rate = rates.get(endpoint_id)
            granted = rate.grant(grants[endpoint_id])[0] if rate else 0
            if granted < grants[endpoint_id]:
                # A rate that is not in the answer is locked by another drain, which is claiming for it now.
                wait_seconds = rate.wait_seconds(granted) if rate else fairness.BURST_SECONDS
                claim.wait_seconds = min(wait_seconds, claim.wait_seconds or wait_seconds)
            grants[endpoint_id] = granted
            if not granted:
                del grants[endpoint_id]
        return rates

    def _take(self, connection: Connection, grants: dict[str, int], token: str) -> list[Row[Any]]:
        """Lock the rows that are due and lease them."""
        wanted = {"ids": list(grants), "most": list(grants.values())}
        taken = list(connection.exec_driver_sql(_PICK, wanted))
        for partition, ids in partitions_of("deliveries", ((row.id, row.created_at) for row in taken)).items():
            lease = {"ids": ids, "lease": self._lease, "token": token}
            connection.exec_driver_sql(_LEASE.format(partition=partition), lease)
        return taken

    def _complete(
        self, connection: Connection, taken: Sequence[Row[Any]], token: str, lanes: dict[str, Lane]
    ) -> list[Claimed]:
        """Add what is needed to send; end the rows that cannot be sent any more."""
        if not taken:
            return []
        bodies = _bodies(connection, {(row.event_id, row.event_created_at) for row in taken}, taken[0].now)
        endpoint_ids = {"ids": sorted({row.endpoint_id for row in taken})}
        targets = {
            row.id: EndpointAddress(row.url, row.sealed_headers, row.secrets)
            for row in connection.exec_driver_sql(_TARGETS, endpoint_ids)
        }
        claimed: list[Claimed] = []
        hopeless: list[tuple[Row[Any], str]] = []
        for row in taken:
            if row.claims - row.attempt_count >= MOST_LOST_CLAIMS:
                hopeless.append((row, deliveries.WORKER_CRASH))
            elif row.event_id not in bodies:
                hopeless.append((row, deliveries.EVENT_EXPIRED))
            elif target := targets.get(row.endpoint_id):  # else deleted this moment: cancelled when the lease ends
                claimed.append(_claimed(row, token, lanes[row.endpoint_id], target, bodies[row.event_id]))
        _fail(connection, hopeless)
        return claimed


@dataclass(frozen=True, slots=True)
class _Rate:
    """A rate-limited endpoint's numbers: the database's time, the theoretical arrival time, transfers a second."""

    now: float
    tat: float | None
    per_second: int

    def grant(self, want: int) -> tuple[int, float]:
        return fairness.gcra(self.tat, self.now, self.per_second, want)

    def wait_seconds(self, granted: int) -> float:
        return fairness.wait_seconds(self.grant(granted)[1], self.now, self.per_second)


def _lane(row: Row[Any], slots: Slots) -> Lane:
    if slots.hangs(row.endpoint_id):
        return "slow"
    return fairness.lane(row.consecutive_failures, row.last_outcome)


def _grants(alive: Sequence[Row[Any]], lanes: dict[str, Lane], slots: Slots, fast_only: bool) -> dict[str, int]:
    """How many rows each endpoint may have, without those that may have none."""
    grants: dict[str, int] = {}
    open_lanes: tuple[Lane, ...] = ("fast",) if fast_only else ("fast", "slow")
    for lane in open_lanes:
        asking = [row.endpoint_id for row in alive if lanes[row.endpoint_id] == lane]
        # What the fast lane has just been granted is not the slow lane's to give away.
        places = min(slots.free(lane), slots.vacant - sum(grants.values()))
        shares = divide([slots.room(endpoint_id) for endpoint_id in asking], places)
        grants.update({endpoint_id: share for endpoint_id, share in zip(asking, shares, strict=True) if share})
    return grants


def _spend_rates(connection: Connection, rates: dict[str, _Rate], counts: Counter[str]) -> None:
    spent = {endpoint_id: rate.grant(counts[endpoint_id])[1] for endpoint_id, rate in rates.items()}
    if spent:
        connection.exec_driver_sql(_SPEND_RATES, {"ids": list(spent), "tats": list(spent.values())})


def _bodies(connection: Connection, events: set[tuple[str, datetime]], now: datetime) -> dict[str, bytes]:
    """The envelopes of some events; those past retention are missing, perhaps with their whole partition."""
    found: dict[str, bytes] = {}
    surely_there = partition_name("events", week_of(now - timedelta(days=1)))  # nothing is kept for less than a day
    for partition, ids in partitions_of("events", events).items():
        if partition < surely_there and not connection.exec_driver_sql(_EXISTS, {"name": partition}).scalar():
            continue
        rows = connection.exec_driver_sql(_BODIES.format(partition=partition), {"ids": ids})
        found.update((row.id, row.body) for row in rows)
    return found


def _claimed(row: Row[Any], token: str, lane: Lane, target: EndpointAddress, body: bytes) -> Claimed:
    return Claimed(
        id=row.id,
        created_at=row.created_at,
        workspace_id=row.workspace_id,
        endpoint_id=row.endpoint_id,
        event_id=row.event_id,
        lease_token=token,
        lane=lane,
        claimed_at=row.now,
        target=target,
        body=body,
    )


def _fail(connection: Connection, hopeless: Sequence[tuple[Row[Any], str]]) -> None:
    if hopeless:
        values = {
            "ids": [row.id for row, _ in hopeless],
            "created": [row.created_at for row, _ in hopeless],
            "reasons": [reason for _, reason in hopeless],
        }
        connection.exec_driver_sql(_FAIL, values)


_DUE = "status = 'pending' AND due_at <= now()"

# One step of the walk jumps to the next endpoint that has a row due, over all other rows of the last one.
_WALK = f"""
WITH RECURSIVE walk (endpoint_id, step) AS (
  (SELECT endpoint_id, 1 FROM deliveries
   WHERE {_DUE} AND endpoint_id > %(after)s::text
   ORDER BY endpoint_id, due_at LIMIT 1)
  UNION ALL
  SELECT later.endpoint_id, walk.step + 1 FROM walk CROSS JOIN LATERAL (
    SELECT endpoint_id FROM deliveries WHERE {_DUE} AND endpoint_id > walk.endpoint_id
    ORDER BY endpoint_id, due_at LIMIT 1
  ) AS later WHERE walk.step < %(most)s::int
)
SELECT walk.endpoint_id, e.status, e.consecutive_failures, e.last_outcome, e.rate_limit
FROM walk LEFT JOIN endpoints e ON e.id = walk.endpoint_id
"""

_LOCK_RATES = """
SELECT id, rate_limit, rate_tat, extract(epoch FROM now()) AS now FROM endpoints
WHERE id = ANY (%(ids)s::text[]) AND rate_limit IS NOT NULL FOR UPDATE SKIP LOCKED
"""

_SPEND_RATES = """
UPDATE endpoints SET rate_tat = spent.tat
FROM unnest(%(ids)s::text[], %(tats)s::float8[]) AS spent (id, tat) WHERE endpoints.id = spent.id
"""

_PICK = f"""
SELECT due.*, now() AS now
FROM unnest(%(ids)s::text[], %(most)s::int[]) AS granted (endpoint_id, most) CROSS JOIN LATERAL (
  SELECT id, created_at, workspace_id, endpoint_id, event_id, event_created_at, attempt_count, claims
  FROM deliveries WHERE {_DUE} AND endpoint_id = granted.endpoint_id
  ORDER BY due_at LIMIT granted.most FOR UPDATE SKIP LOCKED
) AS due
"""

_LEASE = """
UPDATE {partition} SET due_at = now() + %(lease)s::interval, lease_token = %(token)s::uuid, claims = claims + 1
WHERE id = ANY (%(ids)s::text[])
"""

_ENDING = """
SELECT wanted.id, e.status, e.disabled_reason
FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS wanted (id, place) LEFT JOIN endpoints e ON e.id = wanted.id
ORDER BY wanted.place
"""

_EXISTS = "SELECT to_regclass(%(name)s) IS NOT NULL"
_BODIES = "SELECT id, body FROM {partition} WHERE id = ANY (%(ids)s::text[])"

_TARGETS = """
SELECT e.id, e.url, e.sealed_headers, ARRAY(
  SELECT s.sealed FROM endpoint_secrets s
  WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now()) ORDER BY s.id DESC
) AS secrets
FROM endpoints e WHERE e.id = ANY (%(ids)s::text[])
"""

_FAIL = """
UPDATE deliveries AS d SET status = 'failed', reason = failed.reason, finished_at = now(), lease_token = NULL
FROM unnest(%(ids)s::text[], %(created)s::timestamptz[], %(reasons)s::text[]) AS failed (id, created_at, reason)
WHERE d.id = failed.id AND d.created_at = failed.created_at
"""
