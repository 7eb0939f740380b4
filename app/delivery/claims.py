"""Claims: which due deliveries a drain may send now, taken in one transaction.

A claim writes a lease with a fresh token into the row of `due`, so nobody else takes it meanwhile; if the worker
dies, the row is due again when the lease ends. First it is settled how many rows each endpoint may have
(grants), then the oldest due rows of each are leased, then what is needed to send them is read. Times are the
database's.

Lanes are shares of one drain's places and not Celery queues: a queue would need processes of its own that idle while
the other lane is full, and a wake-up would have to know what is due.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from app.core.webhook.fairness import Lane, Slots
from app.database.partitions import partition_name, partitions_of, week_of
from app.delivery import deliveries, grants
from app.delivery.cancelling import EndedEndpoints
from app.delivery.deliveries import IS_DUE

# For every connection that runs these statements. They must use their indexes whatever the statistics say, which change
# faster than anybody can analyse. Compiling them (jit) takes longer than running them. Rows that are locked are passed
# over; whoever locks a whole table is waited for no longer than a ring's time.
DATABASE_OPTIONS = (
    "-c jit=off -c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
    " -c lock_timeout=2000"
)
# The longest statement of a round takes some 100 ms. After this time the server cancels it, and two seconds later the
# connection is given up: all deliveries of a process wait for it.
STATEMENT_SECONDS = 10.0

# Claims without an attempt: the row kills or freezes its worker, and is given up.
MOST_LOST_CLAIMS = 5
# From so many on it may be the row itself, or only a neighbour of the one that does: it travels alone, so that it takes
# none along, and an innocent one is delivered.
SUSPICIOUS_LOST_CLAIMS = 2
# Rows of each endpoint, oldest first, among which a claim looks for a suspicious one.
LOOK_AT_ROWS = 32


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """How to reach an endpoint, as it is stored. sealed_secrets: those that sign now, newest first."""

    url: str
    sealed_headers: bytes | None
    sealed_secrets: Sequence[bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """A delivery that this drain has to send now. claimed_at: the database's time, which the attempt carries. alone:
    no other may start beside it."""

    id: str
    created_at: datetime
    workspace_id: str
    endpoint_id: str
    event_id: str
    lease_token: str
    lane: Lane
    claimed_at: datetime
    address: EndpointAddress
    body: bytes
    alone: bool = False


@dataclass(slots=True)
class Claim:
    """The outcome of one claim.

    more: there may be rows that could be claimed at once. wait_seconds: when a rate limit allows the next row that it
    held back, None if it held none back.
    """

    rows: list[Claimed] = field(default_factory=list)
    more: bool = False
    wait_seconds: float | None = None


class Claimer:
    """Claims for one drain; remembers where it stopped, so that every endpoint has its turn.

    ended: endpoints whose pending deliveries are to be cancelled, a part of them with each claim.
    """

    def __init__(self, *, lease_seconds: int) -> None:
        self._lease_span = timedelta(seconds=lease_seconds)
        self._due_endpoints = grants.DueEndpoints()
        self.ended = EndedEndpoints()

    def claim(
        self, connection: Connection, slots: Slots, *, fast_only: bool = False, suspicious_only: bool = False
    ) -> Claim:
        """Lease due rows for the free places. The caller's transaction must be short, and commit before sending.

        fast_only: nothing for endpoints of the slow lane. suspicious_only: nothing but a row that has to travel alone.
        Such a row is claimed when nothing else is, and nothing is in flight.
        """
        endpoints, complete = self._due_endpoints.next(connection)
        enabled = [row for row in endpoints if row.status == "enabled"]
        self.ended.add(row.endpoint_id for row in endpoints if row.status != "enabled")
        if suspicious_only:
            return self._claim_suspicious(connection, enabled, slots)
        self.ended.cancel_some(connection)
        granted = grants.grant(connection, enabled, slots, complete=complete, fast_only=fast_only)
        claim = Claim(more=not complete or self.ended.are_left, wait_seconds=granted.wait_seconds)
        if granted.rows:
            token = str(uuid.uuid4())
            leased = self._lease_rows(connection, granted.rows, token)
            counts = Counter(row.endpoint_id for row in leased)
            claim.more |= any(counts[endpoint_id] == most for endpoint_id, most in granted.rows.items())
            grants.spend(connection, granted.rates, counts)
            claim.rows = _complete(connection, leased, token, granted.lanes)
        if not claim.rows and not slots.in_flight:
            suspicious = self._claim_suspicious(connection, enabled, slots)
            claim.rows, claim.more = suspicious.rows, claim.more or suspicious.more
        return claim

    def _claim_suspicious(self, connection: Connection, endpoints: Sequence[Row[Any]], slots: Slots) -> Claim:
        """Lease one row that has lost claims, or end it if it has lost too many."""
        lanes = {row.endpoint_id: grants.lane_of(row, slots) for row in endpoints}
        values = {"ids": list(lanes), "lost": SUSPICIOUS_LOST_CLAIMS, "rows": LOOK_AT_ROWS}
        found = list(connection.exec_driver_sql(_PICK_SUSPICIOUS, values)) if lanes else []
        token = str(uuid.uuid4())
        self._lease(connection, found, token)
        rows = [replace(claimed, alone=True) for claimed in _complete(connection, found, token, lanes)]
        return Claim(rows, more=bool(found))

    def _lease_rows(self, connection: Connection, granted: dict[str, int], token: str) -> list[Row[Any]]:
        """Lock the oldest due rows of each endpoint, and lease them. granted: the most rows by endpoint id."""
        values = {"ids": list(granted), "most": list(granted.values()), "lost": SUSPICIOUS_LOST_CLAIMS}
        rows = list(connection.exec_driver_sql(_PICK, values))
        self._lease(connection, rows, token)
        return rows

    def _lease(self, connection: Connection, rows: Sequence[Row[Any]], token: str) -> None:
        if rows:
            values = {"ids": [row.id for row in rows], "lease": self._lease_span, "token": token}
            connection.exec_driver_sql(_LEASE, values)


def _complete(connection: Connection, leased: Sequence[Row[Any]], token: str, lanes: dict[str, Lane]) -> list[Claimed]:
    """Add what is needed to send; end the rows that cannot be sent any more."""
    if not leased:
        return []
    bodies = _bodies(connection, {(row.event_id, row.event_created_at) for row in leased}, leased[0].now)
    addresses = _addresses(connection, {row.endpoint_id for row in leased})
    claimed: list[Claimed] = []
    hopeless: list[tuple[Row[Any], str]] = []
    for row in leased:
        if row.claims - row.attempt_count >= MOST_LOST_CLAIMS:
            hopeless.append((row, deliveries.WORKER_CRASH))
        elif row.event_id not in bodies:
            hopeless.append((row, deliveries.EVENT_EXPIRED))
        elif address := addresses.get(row.endpoint_id):  # else deleted this moment: cancelled when the lease ends
            claimed.append(_claimed(row, token, lanes[row.endpoint_id], address, bodies[row.event_id]))
    _fail(connection, hopeless)
    return claimed


def _bodies(connection: Connection, events: set[tuple[str, datetime]], now: datetime) -> dict[str, bytes]:
    """The envelopes of some events; those past retention are missing, perhaps with their whole partition."""
    bodies: dict[str, bytes] = {}
    surely_there = partition_name("events", week_of(now - timedelta(days=1)))  # nothing is kept for less than a day
    for partition, ids in partitions_of("events", events).items():
        if partition < surely_there and not connection.exec_driver_sql(_EXISTS, {"name": partition}).scalar():
            continue
        rows = connection.exec_driver_sql(_BODIES.format(partition=partition), {"ids": ids})
        bodies.update((row.id, row.body) for row in rows)
    return bodies


def _addresses(connection: Connection, endpoint_ids: set[str]) -> dict[str, EndpointAddress]:
    rows = connection.exec_driver_sql(_ADDRESSES, {"ids": sorted(endpoint_ids)})
    return {row.id: EndpointAddress(row.url, row.sealed_headers, row.secrets) for row in rows}


def _claimed(row: Row[Any], token: str, lane: Lane, address: EndpointAddress, body: bytes) -> Claimed:
    return Claimed(
        id=row.id,
        created_at=row.created_at,
        workspace_id=row.workspace_id,
        endpoint_id=row.endpoint_id,
        event_id=row.event_id,
        lease_token=token,
        lane=lane,
        claimed_at=row.now,
        address=address,
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
        connection.exec_driver_sql(_FORGET, {"ids": values["ids"]})


# Lock the oldest due rows of each endpoint, at most as many as it was granted. What another drain holds is passed over,
# and what has to travel alone.
_PICK = f"""
SELECT due.*, now() AS now
FROM unnest(%(ids)s::text[], %(most)s::int[]) AS granted (endpoint_id, most) CROSS JOIN LATERAL (
  SELECT delivery_id AS id, created_at, workspace_id, endpoint_id, event_id, event_created_at, attempt_count, claims
  FROM due WHERE {IS_DUE} AND endpoint_id = granted.endpoint_id AND claims - attempt_count < %(lost)s
  ORDER BY due_at LIMIT granted.most FOR UPDATE SKIP LOCKED
) AS due
"""

# Lock one row that has lost claims, among the oldest due ones of each endpoint.
_PICK_SUSPICIOUS = f"""
SELECT due.delivery_id AS id, due.created_at, due.workspace_id, due.endpoint_id, due.event_id, due.event_created_at,
  due.attempt_count, due.claims, now() AS now
FROM unnest(%(ids)s::text[]) AS asking (endpoint_id) CROSS JOIN LATERAL (
  SELECT delivery_id, claims - attempt_count AS lost FROM due
  WHERE {IS_DUE} AND endpoint_id = asking.endpoint_id ORDER BY due_at LIMIT %(rows)s
) AS oldest JOIN due ON due.delivery_id = oldest.delivery_id
WHERE oldest.lost >= %(lost)s AND {IS_DUE} LIMIT 1 FOR UPDATE OF due SKIP LOCKED
"""

# Make the picked rows this drain's until the lease ends.
_LEASE = """
UPDATE due SET leased_until = now() + %(lease)s::interval, lease_token = %(token)s::uuid, claims = claims + 1
WHERE delivery_id = ANY (%(ids)s::text[])
"""

# Whether a partition of events is still there.
_EXISTS = "SELECT to_regclass(%(name)s) IS NOT NULL"

# What is to be sent, of the events of one partition.
_BODIES = "SELECT id, body FROM {partition} WHERE id = ANY (%(ids)s::text[])"

# Where to send it, with which headers, signed with which secrets (newest first).
_ADDRESSES = """
SELECT e.id, e.url, e.sealed_headers, ARRAY(
  SELECT s.sealed FROM endpoint_secrets s
  WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now()) ORDER BY s.id DESC
) AS secrets
FROM endpoints e WHERE e.id = ANY (%(ids)s::text[])
"""

# End rows that cannot be sent any more, each with its reason. One whose delivery somebody has locked stays until its
# lease ends.
_FAIL = """
WITH failed AS MATERIALIZED (
  SELECT d.id, d.created_at, given.reason
  FROM unnest(%(ids)s::text[], %(created)s::timestamptz[], %(reasons)s::text[]) AS given (id, created_at, reason)
  JOIN deliveries d ON d.id = given.id AND d.created_at = given.created_at FOR UPDATE OF d SKIP LOCKED
), ended AS (
  DELETE FROM due USING failed WHERE due.delivery_id = failed.id
)
UPDATE deliveries AS d SET status = 'failed', reason = failed.reason, finished_at = now()
FROM failed WHERE d.id = failed.id AND d.created_at = failed.created_at
"""

# Forget rows whose deliveries are gone, with their partition.
_FORGET = """
DELETE FROM due WHERE delivery_id = ANY (%(ids)s::text[])
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.id = due.delivery_id AND d.created_at = due.created_at)
"""
