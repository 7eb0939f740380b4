"""Attempts: what came of each HTTP exchange, as it is appended to the log. An attempt is never changed."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from app.core import ids
from app.core.webhook.retry import Outcome
from app.delivery.claims import Claimed
from app.delivery.sending.request import NO_PHASES, Phases


class InBatch(NamedTuple):
    """An event's part in a batch. position: from 1. jitter: a random number in [0, 1), the same for all of it, so that
    they travel together again. at_once: the answer has acknowledged others, and this one goes again at once, without
    using up an attempt of its schedule. waits_behind: it goes again after another of its stream that was not
    acknowledged. most: how many may travel with it next; None: no fewer than before."""

    id: str
    size: int
    position: int
    jitter: float
    at_once: bool = False
    waits_behind: bool = False
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of one attempt. started_at: by the database's clock. by_us: it failed here, before anything was sent.
    unanswered: the request was sent, and no answer came. resent: the same delivery was sent once more at once, and what
    comes of that decides: this exchange is only logged. phases: where the time went. batch: the request that it shared.

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
    phases: Phases = NO_PHASES
    batch: InBatch | None = None
    nonce: bytes = field(default_factory=partial(os.urandom, ids.RANDOM_BYTES))
    created_at: datetime = field(init=False)
    """Of its row: when it started, in milliseconds, as the id holds it."""
    attempt_id: str = field(init=False)
    """Of its row, always the same."""

    def __post_init__(self) -> None:
        created_at = ids.truncate(self.started_at)
        object.__setattr__(self, "created_at", created_at)
        object.__setattr__(self, "attempt_id", ids.make(ids.ATTEMPT, created_at, self.nonce))

    @property
    def ended_at(self) -> datetime:
        """When the result was there, by the database's clock."""
        return self.started_at + timedelta(seconds=self.duration_seconds)


def attempt_fields(exchange: Exchange) -> dict[str, Any]:
    """The columns of an exchange's attempt, by name, but for its number; values as JSON has them."""
    claimed = exchange.claimed
    answered = exchange.status_code is not None
    fields = {
        "attempt_id": exchange.attempt_id,
        "attempt_at": exchange.created_at.isoformat(),
        "workspace_id": claimed.workspace_id,
        "endpoint_id": claimed.endpoint_id,
        "delivery_id": claimed.id,
        "created_at": claimed.created_at.isoformat(),
        "started_at": exchange.started_at.isoformat(),
        "duration_ms": round(exchange.duration_seconds * 1000),
        "outcome": str(exchange.outcome),
        "error": _storable(exchange.error) if exchange.error else None,
        "status_code": exchange.status_code,
        "remote_address": exchange.remote_address,
        "response_headers": _headers(exchange.response_headers),
        "response_body": base64.b64encode(exchange.response_body).decode() if answered else None,
        "trigger": claimed.trigger,
        "phases_ms": _milliseconds(exchange.phases),
        "reused": exchange.phases.reused,
    }
    if exchange.batch is not None:
        fields["batch_id"], fields["batch_size"] = exchange.batch.id, exchange.batch.size
        fields["batch_position"] = exchange.batch.position
    return fields


def _milliseconds(phases: Phases) -> str:
    """The four that are times, in their order, as PostgreSQL writes an array: a text costs less to read than JSON."""
    return f"{{{','.join(['NULL' if part is None else str(round(part * 1000)) for part in phases[:4]])}}}"


def _headers(pairs: Sequence[tuple[str, str]]) -> dict[str, str] | None:
    """Response headers as a JSON object; what came more than once is joined with commas (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for name, value in pairs:
        name = spelled.setdefault(name.lower(), _storable(name))
        joined[name] = f"{joined[name]}, {_storable(value)}" if name in joined else _storable(value)
    return joined or None


def _storable(text: str) -> str:
    """PostgreSQL stores neither NUL nor lone surrogates; no attempt may be lost because of one."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
