"""Rows of the past as the product would have written them: what a long log, and the documents' pictures, begin with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.core import ids
from app.core.wire.envelope import encode, rfc3339
from app.database.partitions import make_partitions

DELAYS = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 29845)  # seconds, as the settings have them
EVENTS = """
WITH stream AS (
  UPDATE streams SET last_seq = last_seq + %(count)s WHERE workspace_id = %(workspace)s AND kind = 'call'
    AND external_id = %(stream)s RETURNING id, last_seq - %(count)s AS before
)
INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body)
SELECT made.id, at, %(workspace)s, stream.id, stream.before + number, type, at, body
FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(types)s::text[], %(bodies)s::bytea[]) WITH ORDINALITY
  AS made (id, at, type, body, number), stream
"""
DELIVERIES = """
WITH made AS (
  SELECT * FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(events)s::text[], %(types)s::text[],
    %(statuses)s::text[], %(outcomes)s::text[], %(counts)s::int[], %(ends)s::timestamptz[])
    AS made (id, at, event, type, status, outcome, attempts, ends)
), queued AS (
  INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
    claims, attempt_count, window_started_at, deadline_at)
  SELECT id, at, %(workspace)s, %(endpoint)s, event, at, 'schedule', ends, attempts, attempts, at,
    at + interval '24 hours' FROM made WHERE status = 'pending'
)
INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type, status,
  reason, window_started_at, deadline_at, attempt_count, finished_at)
SELECT id, at, %(workspace)s, %(endpoint)s, event, at, type, status,
  CASE WHEN status = 'failed' THEN 'window_exhausted: no success within 24 h; last: ' || outcome END,
  at, at + interval '24 hours', attempts, CASE WHEN status <> 'pending' THEN ends END FROM made
"""
ATTEMPTS = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  status_code, error, remote_address, response_headers, response_body, trigger)
SELECT id, at, %(workspace)s, %(endpoint)s, delivery, number, at, took, outcome, code, error, '203.0.113.20',
  CASE WHEN code IS NOT NULL THEN '{"Content-Type": "application/json", "Server": "nginx"}'::jsonb END,
  CASE WHEN code >= 500 THEN convert_to('{"error": "upstream connect error"}', 'UTF8') END, 'schedule'
FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(deliveries)s::text[], %(took)s::int[], %(outcomes)s::text[],
  %(codes)s::int[], %(errors)s::text[], %(numbers)s::int[])
  AS made (id, at, delivery, took, outcome, code, error, number)
"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A delivery. status: delivered, failed or pending. attempts: so many, which all came out alike. took: milliseconds
    of each."""

    at: datetime
    type: str = "call.started"
    status: str = "delivered"
    attempts: int = 1
    outcome: str = "success"
    code: int | None = 200
    took: int = 40
    error: str | None = None
    data: str = '{"text":"hello"}'

    def attempt_at(self, number: int) -> datetime:
        """When an attempt is made, the first being 1, by the usual schedule without jitter."""
        return self.at + timedelta(seconds=sum(DELAYS[: number - 1]))


@dataclass(frozen=True, slots=True)
class Told:
    """What a drain would tell of it."""

    workspace_id: str
    delivery_id: str
    attempt_id: str
    outcome: str = "success"
    ended: str | None = "delivered"
    sent_after_seconds: float | None = None
    delivered_after_seconds: float | None = None


def write(
    connection: Connection, workspace: str, endpoint: str, stream: str, exchanges: Sequence[Exchange]
) -> list[Told]:
    """Events of one stream of kind call, which is there, each with its delivery to one endpoint; oldest first."""
    for at in {exchange.at.date(): exchange.at for exchange in exchanges}.values():
        make_partitions(connection, at, 0)
    made = [
        (_id(ids.EVENT, one.at), _id(ids.DELIVERY, one.at), _id(ids.ATTEMPT, one.attempt_at(one.attempts)))
        for one in exchanges
    ]
    times = [ids.truncate(one.at) for one in exchanges]
    types = [one.type for one in exchanges]
    common: dict[str, Any] = {"workspace": workspace, "endpoint": endpoint, "times": times, "types": types}
    bodies = [
        encode(id=event, type=one.type, timestamp=rfc3339(at), workspace_id=workspace, kind="call", stream_id=stream,
               seq=number, data=one.data)
        for number, ((event, *_), one, at) in enumerate(zip(made, exchanges, times, strict=True), 1)
    ]  # fmt: skip
    events = {"ids": [one[0] for one in made], "bodies": bodies, "stream": stream, "count": len(made)}
    connection.exec_driver_sql(EVENTS, common | events)
    deliveries = {
        "ids": [one[1] for one in made],
        "events": events["ids"],
        "statuses": [one.status for one in exchanges],
        "outcomes": [one.outcome for one in exchanges],
        "counts": [one.attempts for one in exchanges],
        "ends": [_end(one) for one in exchanges],
    }
    connection.exec_driver_sql(DELIVERIES, common | deliveries)
    tries = [
        (delivery, last if number == one.attempts else _id(ids.ATTEMPT, one.attempt_at(number)), one, number)
        for (_, delivery, last), one in zip(made, exchanges, strict=True)
        for number in range(1, one.attempts + 1)
    ]
    attempts = {
        "ids": [id for _, id, _, _ in tries],
        "times": [ids.created_at_of(id) for _, id, _, _ in tries],
        "deliveries": [delivery for delivery, _, _, _ in tries],
        "numbers": [number for _, _, _, number in tries],
        "took": [one.took for _, _, one, _ in tries],
        "outcomes": [one.outcome for _, _, one, _ in tries],
        "codes": [one.code for _, _, one, _ in tries],
        "errors": [one.error for _, _, one, _ in tries],
    }
    connection.exec_driver_sql(ATTEMPTS, common | attempts)
    return [Told(workspace, delivery, attempt) for _, delivery, attempt in made]


def _end(exchange: Exchange) -> datetime:
    """When it ended, or its next attempt is due."""
    if exchange.status == "pending":
        return exchange.attempt_at(exchange.attempts + 1)
    if exchange.status == "failed":
        return exchange.at + timedelta(hours=24)
    return exchange.attempt_at(exchange.attempts) + timedelta(milliseconds=exchange.took)


def _id(prefix: str, at: datetime) -> str:
    return ids.make(prefix, at, os.urandom(ids.RANDOM_BYTES))
