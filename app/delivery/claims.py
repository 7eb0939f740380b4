"""Claims: which due deliveries a drain may send now.

A claim writes a lease with a fresh token into the row of `due`, so nobody else takes it meanwhile; if the worker dies,
the row is due again when the lease ends. A function of the database looks, leases and answers all that is needed to
send, in one round trip (database/functions/drain_round.sql). Only when places are short, or more endpoints ask than can
be looked at, it answers who asks; how the places are shared is then decided here (grants), and a second call takes the
rows. Times are the database's.

Lanes are shares of one drain's places and not Celery queues: a queue would need processes of its own that idle while
the other lane is full, and a wake-up would have to know what is due.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from app.core.feed.cursor import Cursor, Tick, encode, shortened
from app.core.feed.snapshot import read_snapshot
from app.core.webhook.batches import most_bytes
from app.core.webhook.fairness import Slots
from app.core.webhook.lanes import Place
from app.core.webhook.shares import Lane
from app.delivery import deliveries, grants
from app.delivery.cancelling import EndedEndpoints
from app.delivery.low_water import FAR, LowWater
from app.delivery.windows import Windows

# For every connection that runs a drain's other statements. They must use their indexes whatever the statistics say,
# which change faster than anybody can analyse. Compiling them (jit) takes longer than running them. Rows that are
# locked are passed over; whoever locks a whole table is waited for no longer than a ring's time. A process that freezes
# in a transaction keeps its rows from the others until the server ends that; nothing here rests between two statements
# for 10 s.
DATABASE_OPTIONS = (
    "-c jit=off -c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
    " -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000"
)
# The longest statement of a round takes some 100 ms. After this time the server cancels it, and two seconds later the
# connection is given up: all deliveries of a process wait for it.
STATEMENT_SECONDS = 10.0

# Claims without an attempt: the row kills or freezes its worker, and is given up.
MOST_LOST_CLAIMS = 5
# From so many on it may be the row itself, or only a neighbour of the one that does: it travels alone, so that it takes
# none along, and an innocent one is delivered. (The functions look_for_due, take_due and take_suspicious say the same.)
SUSPICIOUS_LOST_CLAIMS = 2

# Rows that one look reads: more than a drain has places. About 1 ms.
MOST_ROWS = 600
# Endpoints that walks look at in a second, about 60 µs each, and those of one walk; the next goes on where it stopped.
# While many hang, few of those that have rows due may have a place. A round that comes soon after the last walk looks
# at a few, for as long as the rest of the round takes: those who wait for it do not pay for all who hang. What is new
# is looked at besides.
ENDPOINTS_A_SECOND = 2560
FEWEST_ENDPOINTS = 16
MOST_ENDPOINTS = 256
# After more was due than one look reads, the next looks go from endpoint to endpoint at once, for so long.
WALK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """How to reach an endpoint, as it is stored. sealed_secrets: those that sign now, newest first. timeout_seconds,
    delays: of its own, where it has them."""

    url: str
    sealed_headers: bytes | None
    sealed_secrets: Sequence[bytes]
    timeout_seconds: int | None = None
    delays: Sequence[int] | None = None


class Part(NamedTuple):
    """What makes a delivery travel with others of its endpoint. batch: which of them. number: its place in the order of
    the log. failures: requests to the endpoint that failed in a row. is_in_lane: whether it waits for others of its
    stream. tick: before the event, if its endpoint wants a cursor."""

    batch: str
    number: int
    failures: int
    is_in_lane: bool
    tick: Sequence[Any] | None


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """A delivery that this drain has to send now. claimed_at: the database's time of the claim. alone:
    no other may start beside it. trigger and the three after it: what its next attempt is decided by. feed_cursor: of a
    place before the event, if its endpoint wants that. place: among the deliveries of its stream, when its endpoint
    keeps order (webhook/lanes; `lane` is of the drain's places). part: of a batch, when its endpoint gets those."""

    id: str
    created_at: datetime
    workspace_id: str
    endpoint_id: str
    event_id: str
    lease_token: str
    lane: Lane
    claimed_at: datetime
    trigger: str
    window_started_at: datetime
    window_attempts: int
    deadline_at: datetime
    address: EndpointAddress
    body: bytes
    alone: bool = False
    feed_cursor: str | None = None
    place: Place | None = None
    part: Part | None = None

    @property
    def is_in_turn(self) -> bool:
        """Whether others of its stream are to be sent after it, and so not beside it. The first row that a batch is
        left with, when the event of the one before it is gone, has no place."""
        return self.place is not None or (self.part is not None and self.part.is_in_lane)


@dataclass(slots=True)
class Claim:
    """The outcome of one claim.

    more: there may be rows that could be claimed at once. left: rows may be due for which there was no room.
    wait_seconds: when a rate limit allows the next row that it held back, None if it held none back. has_batches:
    whether any of the rows belongs to a batch. put_off_seconds: when something is due that waits for others of its
    batch, if that is soon. hopeless: rows that cannot be sent any more, given as (id, created_at), and why.
    """

    rows: list[Claimed] = field(default_factory=list)
    more: bool = False
    left: bool = False
    wait_seconds: float | None = None
    has_batches: bool = False
    put_off_seconds: float | None = None
    hopeless: list[tuple[str, datetime, str, str]] = field(default_factory=list)


class Claimer:
    """Claims for one drain; remembers where it stopped, so that every endpoint has its turn.

    ended: endpoints whose pending deliveries are to be cancelled, a part of them with each claim.
    """

    def __init__(self, *, lease_seconds: int) -> None:
        self._lease_seconds = lease_seconds
        self._low_water = LowWater()
        self._started_at = 0.0  # of the present look, monotonic
        self._unanswered: str | None = None  # the token of a call whose answer has not been read
        self._after = ""  # the endpoint at which the last walk stopped
        self._walked_at = self._walk_until = 0.0
        self._windows = Windows()
        self.ended = EndedEndpoints()

    def ask(
        self, slots: Slots, now: float, *, fast_only: bool = False, suspicious_only: bool = False
    ) -> dict[str, Any]:
        """What drain_round is to be asked. now: monotonic seconds.

        fast_only: nothing for endpoints of the slow lane. suspicious_only: nothing but a row that has to travel alone.
        Such a row is claimed when nothing else is, and nothing is in flight.
        """
        self._started_at = now
        mark, low_water = self._low_water.mark, self._low_water.start(now)
        token = self._unanswered or str(uuid.uuid4())
        asked: dict[str, Any] = {
            "token": token,
            "lease_seconds": self._lease_seconds,
            "most_rows": MOST_ROWS,
            "most_endpoints": walk_size(now - self._walked_at),
            "batches": most_bytes(slots.batch_bytes),
        }
        if self._unanswered:
            asked["again"] = True
        self._unanswered = token
        if mark is None:
            asked["fresh"] = FAR.total_seconds()
        elif low_water is not None:
            asked["low_water"] = low_water.isoformat()
        if now < self._walk_until:
            asked["walking"] = True
        if self._after:
            asked["after"] = self._after
        if suspicious_only:
            asked["alone"] = "only"
        elif not slots.in_flight:
            asked["alone"] = "too"
        return asked | grants.places(slots, fast_only=fast_only)

    def written_down(self) -> dict[str, Any]:
        """What drain_round is to be asked to write down with the stamp of a round, for those that begin."""
        mark = self._low_water.mark
        return {} if mark is None else {"mark": mark.isoformat(), "all_seconds": self._low_water.all_seconds}

    def read(
        self, asked: dict[str, Any], note: dict[str, Any], rows: Sequence[tuple[Any, ...]], slots: Slots, now: float
    ) -> tuple[Claim, dict[str, Any] | None]:
        """What drain_round has answered: the claim, and what is to be asked next, if sharing was left to us.

        note: of the first row; rows: the others. now: monotonic seconds.
        """
        self._unanswered = None
        moment = datetime.fromisoformat(note["now"])
        claim = Claim(wait_seconds=note.get("wait"))
        self._take(claim, asked, moment, rows, slots)
        # What was to travel alone, or could not be sent, stood in the way of others; sharing may have left some.
        claim.more = bool(claim.hopeless) or any(row.alone for row in claim.rows)
        if "complete" not in note:
            claim.more |= bool(claim.rows)
            return claim, None
        if note["walked"]:
            self._walked_at = self._started_at
            self._walk_until = self._walk_until if asked.get("walking") else now + WALK_SECONDS
        low = moment if note["low"] is None else datetime.fromisoformat(note["low"])
        self._low_water.end(low, now, now - self._started_at, note.get("all_seconds"))
        asking = note.get("asking") or []
        self._after = note["after"] or ""
        self.ended.add(note["ended"] or ())
        claim.more |= not note["complete"] or note.get("more", False)
        claim.left = note["left"]
        claim.put_off_seconds = self._windows.next_end(now, note.get("put_off"))
        return claim, self._share(claim, asked, note, asking, slots)

    def _share(
        self, claim: Claim, asked: dict[str, Any], note: dict[str, Any], asking: Sequence[dict[str, Any]], slots: Slots
    ) -> dict[str, Any] | None:
        if "asking" not in note:
            return None
        granted = {}
        if asked.get("alone") != "only":
            decided = grants.grant(asking, slots, lanes=asked["free"])
            granted = dict(decided.rows)
            claim.more |= decided.held_back
        further: dict[str, Any] = {
            name: asked[name] for name in ("token", "lease_seconds", "low_water", "alone", "batches") if name in asked
        }
        further["known"] = {id: {"events": most} for id in granted if (most := slots.most_events(id)) is not None}
        if batching := [row["endpoint_id"] for row in asking if row.get("batching")]:
            further["batching"] = batching
        further["granted"] = granted
        further["limited"] = any(row["rate_limit"] is not None for row in asking)
        further["among"] = [row["endpoint_id"] for row in asking]
        if not granted and "alone" not in asked:
            return None
        self._unanswered = asked["token"]
        return further

    def _take(
        self, claim: Claim, asked: dict[str, Any], moment: datetime, rows: Sequence[tuple[Any, ...]], slots: Slots
    ) -> None:
        for row in rows:
            (
                own,
                id,
                created_at,
                workspace,
                endpoint,
                event,
                trigger,
                started_at,
                attempts,
                deadline_at,
                lost,
                *rest,
            ) = row
            failures, outcome, url, headers, secrets, body = rest
            if lost >= MOST_LOST_CLAIMS:
                claim.hopeless.append((id, created_at, deliveries.WORKER_CRASH, asked["token"]))
            elif body is None:
                claim.hopeless.append((id, created_at, deliveries.EVENT_EXPIRED, asked["token"]))
            else:
                lane = slots.lane(endpoint, failures, outcome)
                address = EndpointAddress(url, headers, secrets)
                cursor = place = part = None
                if own is not None:
                    place, part = _place(own.get("lane")), _part(own)
                    cursor = cursor_of(own.get("tick")) if part is None else None
                    claim.has_batches |= part is not None
                    timeout_seconds, delays = own["timeout_seconds"], own["retry_delays_seconds"]
                    address = replace(address, timeout_seconds=timeout_seconds, delays=delays)
                claim.rows.append(
                    Claimed(
                        id,
                        created_at,
                        workspace,
                        endpoint,
                        event,
                        asked["token"],
                        lane,
                        moment,
                        trigger,
                        started_at,
                        attempts,
                        deadline_at,
                        address,
                        body,
                        lost >= SUSPICIOUS_LOST_CLAIMS,
                        cursor,
                        place,
                        part,
                    )
                )


def walk_size(seconds: float) -> int:
    """How many endpoints a walk looks at. seconds: since the last one."""
    return int(min(max(ENDPOINTS_A_SECOND * seconds, FEWEST_ENDPOINTS), MOST_ENDPOINTS))


def cursor_of(tick: Sequence[Any] | None) -> str | None:
    """The cursor of a tick that tick_before has found."""
    if tick is None:
        return None
    id, epoch, mark, no, snapshot = tick
    return encode(Cursor(shortened(Tick(id, epoch, mark, no, read_snapshot(snapshot)))))


def _place(told: dict[str, Any] | None) -> Place | None:
    return None if told is None else Place(told["prev"], tuple(told["skipped"] or ()), told["late"])


def _part(own: dict[str, Any]) -> Part | None:
    if own.get("batch") is None:
        return None
    which, number, failures, is_in_lane = own["batch"]
    return Part(which, number, failures, is_in_lane, own.get("tick"))


def fail(connection: Connection, hopeless: Sequence[tuple[str, datetime, str, str]]) -> None:
    """End deliveries that cannot be sent any more, given as (id, created_at, reason, lease token)."""
    ids, created, reasons, tokens = zip(*hopeless, strict=True)
    values = {"ids": list(ids), "created": list(created), "reasons": list(reasons), "tokens": list(tokens)}
    connection.exec_driver_sql(_FAIL, values)
    connection.exec_driver_sql(_FORGET, {"ids": list(ids)})


# End rows that cannot be sent any more, each with its reason, for whoever still has the lease: meanwhile another drain
# may have recorded a late success, or a person may have begun anew. One that somebody has locked stays until its lease
# ends.
_FAIL = """
WITH failed AS MATERIALIZED (
  SELECT d.id, d.created_at, given.reason
  FROM unnest(%(ids)s::text[], %(created)s::timestamptz[], %(reasons)s::text[], %(tokens)s::uuid[])
    AS given (id, created_at, reason, token)
  JOIN deliveries d ON d.id = given.id AND d.created_at = given.created_at AND d.status = 'pending'
  JOIN due ON due.delivery_id = given.id AND due.delivery_id = ANY (%(ids)s::text[]) AND due.lease_token = given.token
  FOR UPDATE OF d, due SKIP LOCKED
), ended AS (
  DELETE FROM due WHERE delivery_id = ANY (ARRAY(SELECT id FROM failed))
)
UPDATE deliveries AS d SET status = 'failed', reason = failed.reason, finished_at = now()
FROM failed WHERE d.id = failed.id AND d.created_at = failed.created_at
"""

# Forget rows whose deliveries are gone, with their partition.
_FORGET = """
DELETE FROM due WHERE delivery_id = ANY (%(ids)s::text[])
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.id = due.delivery_id AND d.created_at = due.created_at)
"""
