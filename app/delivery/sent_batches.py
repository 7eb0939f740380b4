"""Batches of claimed deliveries: which travel together, and what came of each of them when the answer is there."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.core import ids
from app.core.webhook import batches
from app.core.webhook.retry import Outcome
from app.core.webhook.steering import HEADER, asked
from app.delivery.attempts import Exchange, InBatch
from app.delivery.claims import Claim, Claimed
from app.delivery.exchanges import exchange_of
from app.delivery.sending.answer import KEPT_BODY_BYTES
from app.delivery.sending.request import Result


@dataclass(frozen=True, slots=True, eq=False)
class SentBatch:
    """One request for these deliveries, all of one endpoint. id: its webhook-id, the same when it is sent once more at
    once because of its connection."""

    id: str
    rows: Sequence[Claimed]
    body: bytes = field(repr=False)


def first_of(sent: Claimed | SentBatch) -> Claimed:
    """The delivery itself, or the first of a batch: its lease, its lane and its place hold for all of it."""
    return sent.rows[0] if isinstance(sent, SentBatch) else sent


def requests_of(claim: Claim) -> Sequence[Claimed | SentBatch]:
    """What was claimed, as it is to be sent: batches in the order of the log."""
    if not claim.has_batches:
        return claim.rows
    sent: list[Claimed | SentBatch] = []
    groups: dict[tuple[str, str], list[Claimed]] = {}
    for row in claim.rows:
        if row.part is None:
            sent.append(row)
        else:
            groups.setdefault((row.endpoint_id, row.part.batch), []).append(row)
    for group in groups.values():
        sent += [_batch(rows) for rows in batches.split(sorted(group, key=_number), _size)]
    return sent


def exchanges_of(sent: Claimed | SentBatch, started_at: datetime, result: Result | Exception) -> list[Exchange]:
    """What came of a request: of each delivery that it had, in order. started_at: of the request."""
    whole = exchange_of(first_of(sent), started_at, result)
    return _divided(sent, whole) if isinstance(sent, SentBatch) else [whole]


def accepted_of(exchanges: Sequence[Exchange]) -> int:
    """How many of a batch the receiver has."""
    return sum(exchange.outcome == Outcome.SUCCESS for exchange in exchanges)


def _divided(sent: SentBatch, whole: Exchange) -> list[Exchange]:
    """What came of the whole request, for each of its events. The answer is kept with the first; with the others what
    it asks for, and the beginning of its body."""
    size, jitter, outcome = len(sent.rows), random.random(), whole.outcome
    answered = batches.Acknowledged(0)
    if outcome == Outcome.SUCCESS and whole.status_code is not None:
        is_cut = len(whole.response_body) >= KEPT_BODY_BYTES
        answered = batches.acknowledged(size, whole.status_code, whole.response_body, error=whole.error, is_cut=is_cut)
        outcome = Outcome.NOT_ACCEPTED
    most = None if answered.events else batches.most_next(size, outcome, whole.status_code, _failures(sent))
    asks = [] if (word := asked(whole.response_headers)) is None else [(HEADER, word)]
    made = []
    for place, row in enumerate(sent.rows):
        is_taken = place < answered.events
        mark = InBatch(
            sent.id,
            size,
            place + 1,
            jitter,
            at_once=answered.events > 0 and not is_taken,
            waits_behind=row.part is not None and row.part.is_in_lane and place > answered.events,
            most=most,
        )
        one = replace(
            whole,
            claimed=row,
            outcome=Outcome.SUCCESS if is_taken else outcome,
            error=whole.error if is_taken else answered.error or whole.error,
            response_headers=whole.response_headers if place == 0 else asks,
            response_body=whole.response_body if place == 0 else whole.response_body[: batches.KEPT_BODY_BYTES],
            batch=mark,
            nonce=os.urandom(ids.RANDOM_BYTES),
        )
        made.append(one)
    return made


def _batch(rows: Sequence[Claimed]) -> SentBatch:
    id = ids.make(ids.BATCH, ids.truncate(rows[0].claimed_at), os.urandom(ids.RANDOM_BYTES))
    return SentBatch(id, rows, batches.body([row.body for row in rows]))


def _failures(sent: SentBatch) -> int:
    part = sent.rows[0].part
    return 0 if part is None else part.failures


def _number(row: Claimed) -> int:
    return row.part.number if row.part is not None else 0


def _size(row: Claimed) -> int:
    return len(row.body)
