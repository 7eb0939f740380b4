"""Attempts: what came of each HTTP exchange, and the log that it is appended to. An attempt is never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from app.core import ids
from app.core.webhook.retry import Outcome
from app.delivery.claims import Claimed


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of one attempt. started_at: by the database's clock. by_us: it failed here, before anything was sent.
    unanswered: the request was sent, and no answer came. resent: the same delivery was sent once more at once, and what
    comes of that decides: this exchange is only logged.

    nonce: makes the attempt's id, which is settled here, when the result has come: however often this is written, it
    stays one attempt.
    """

    claimed: Claimed
    outcome: Outcome
    status_code: int | None
    error: str | None
    remote_address: str | None
    response_headers: Sequence[tuple[str, str]]
    response_body: bytes
    retry_after: str | None
    started_at: datetime
    duration_seconds: float
    by_us: bool = False
    unanswered: bool = False
    resent: bool = False
    nonce: bytes = field(default_factory=partial(os.urandom, ids.RANDOM_BYTES))

    @property
    def ended_at(self) -> datetime:
        """When the result was there, by the database's clock."""
        return self.started_at + timedelta(seconds=self.duration_seconds)

    @property
    def created_at(self) -> datetime:
        """Of its row: when it started, in milliseconds, as the id holds it."""
        return ids.truncate(self.started_at)

    @property
    def attempt_id(self) -> str:
        """Of its row, always the same."""
        return ids.make(ids.ATTEMPT, self.created_at, self.nonce)


def attempt_row(exchange: Exchange, number: int, trigger: str) -> dict[str, Any]:
    """The columns of an exchange's attempt, by name. trigger: what it was made for."""
    claimed = exchange.claimed
    return {
        "id": exchange.attempt_id,
        "created_at": exchange.created_at,
        "workspace_id": claimed.workspace_id,
        "endpoint_id": claimed.endpoint_id,
        "delivery_id": claimed.id,
        "number": number,
        "started_at": exchange.started_at,
        "duration_ms": round(exchange.duration_seconds * 1000),
        "outcome": str(exchange.outcome),
        "error": _storable(exchange.error) if exchange.error else None,
        "status_code": exchange.status_code,
        "remote_address": exchange.remote_address,
        "response_headers": _headers(exchange.response_headers),
        "response_body": exchange.response_body if exchange.status_code is not None else None,
        "trigger": trigger,
    }


def insert_attempts(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Append to the log what attempt_row has made."""
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        connection.exec_driver_sql(_INSERT_ATTEMPTS, columns)


def written_attempts(connection: Connection, exchanges: Sequence[Exchange]) -> set[str]:
    """Which of these exchanges' attempts are in the log already, by their ids."""
    if not exchanges:
        return set()
    values = {"ids": [each.attempt_id for each in exchanges], "created": [each.created_at for each in exchanges]}
    return set(connection.exec_driver_sql(_WRITTEN_ATTEMPTS, values).scalars())


def _headers(pairs: Sequence[tuple[str, str]]) -> str | None:
    """Response headers as a JSON object; what came more than once is joined with commas (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for name, value in pairs:
        name = spelled.setdefault(name.lower(), _storable(name))
        joined[name] = f"{joined[name]}, {_storable(value)}" if name in joined else _storable(value)
    return json.dumps(joined) if joined else None


def _storable(text: str) -> str:
    """PostgreSQL stores neither NUL nor lone surrogates; no attempt may be lost because of one."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


# Find attempts that a transaction has written whose COMMIT was not answered.
_WRITTEN_ATTEMPTS = "SELECT id FROM attempts WHERE id = ANY (%(ids)s::text[]) AND created_at = ANY (%(created)s)"

# Append attempts to the log. One that is there already stays as it is.
_INSERT_ATTEMPTS = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  error, status_code, remote_address, response_headers, response_body, trigger)
SELECT id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  error, status_code, remote_address, response_headers::jsonb, response_body, trigger
FROM unnest(%(id)b::text[], %(created_at)b::timestamptz[], %(workspace_id)b::text[], %(endpoint_id)b::text[],
  %(delivery_id)b::text[], %(number)b::int[], %(started_at)b::timestamptz[], %(duration_ms)b::int[],
  %(outcome)b::text[], %(error)b::text[], %(status_code)b::int[], %(remote_address)b::text[],
  %(response_headers)b::text[], %(response_body)b::bytea[], %(trigger)b::text[])
  AS a (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  error, status_code, remote_address, response_headers, response_body, trigger)
ON CONFLICT (id, created_at) DO NOTHING
"""
