"""The headers of a delivery: the customer's own, and the three of Standard Webhooks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from app.core.ids import created_at_of
from app.core.sealing import unseal
from app.core.webhook import lanes
from app.core.webhook.headers import FEED_CURSOR, signed
from app.delivery.claims import Claimed, cursor_of
from app.delivery.sending.request import Request, standing_seconds
from app.delivery.sent_batches import SentBatch, first_of

# Unsealed secrets and headers that are kept in memory. They are found by their sealed form, so a changed one is not
# mistaken for the former one.
UNSEALED_KEPT = 4096


class Signer:
    """One process's. secret_keys: with which secrets and headers are sealed, the present one first."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._unseal = lru_cache(UNSEALED_KEPT)(partial(unseal, secret_keys))

    def request(
        self, sent: Claimed | SentBatch, sent_at: datetime, left_seconds: float, *, own_connection: bool = False
    ) -> Request:
        """The request for a delivery or a batch; (sent, sent_at) comes back with its result. left_seconds: of its
        lease; in a lane it is not sent later than that. Raises ValueError as `headers` does."""
        claimed = first_of(sent)
        headers = self.headers_of_batch(sent, sent_at) if isinstance(sent, SentBatch) else self.headers(sent, sent_at)
        address, owner, key = claimed.address, claimed.workspace_id, (sent, sent_at)
        until = standing_seconds() + left_seconds if claimed.is_in_turn else None
        own_seconds = address.timeout_seconds
        return Request(key, address.url, headers, sent.body, owner, own_connection, own_seconds, until)

    def headers(self, claimed: Claimed, sent_at: datetime) -> list[tuple[str, str]]:
        """The customer's headers, the three of Standard Webhooks, what there is to say of its place among others, and a
        cursor where it is wanted.

        sent_at: as the attempt is recorded, so that what was sent can be told from its row (sent_requests.py). Raises
        ValueError when headers or secrets cannot be unsealed, or there is no secret.
        """
        own, secrets = self._opened(claimed)
        made = signed(own, secrets, claimed.event_id, claimed.id, sent_at, claimed.body)
        made += lanes.headers(claimed.place, replay=_is_replay(claimed))
        return made if claimed.feed_cursor is None else [*made, (FEED_CURSOR, claimed.feed_cursor)]

    def headers_of_batch(self, sent: SentBatch, sent_at: datetime) -> list[tuple[str, str]]:
        """The same for a batch. What there is to say of a place is that of its first event, the trace that of its only
        one, and the cursor one before all of them. Raises ValueError as above."""
        first = sent.rows[0]
        own, secrets = self._opened(first)
        envelope = first.body if len(sent.rows) == 1 else b""
        made = signed(own, secrets, sent.id, first.id, sent_at, sent.body, envelope)
        made += lanes.headers(first.place, replay=_is_replay(first))
        ticks = [row.part.tick for row in sent.rows if row.part is not None and row.part.tick is not None]
        if len(ticks) < len(sent.rows):
            return made
        return [*made, (FEED_CURSOR, str(cursor_of(min(ticks, key=_place_of))))]

    def _opened(self, claimed: Claimed) -> tuple[dict[str, str], list[str]]:
        """An endpoint's own headers, and its secrets. Raises ValueError."""
        address = claimed.address
        own = {} if address.sealed_headers is None else json.loads(self._unseal(address.sealed_headers))
        if not isinstance(own, dict):
            raise ValueError("the endpoint's headers are damaged")
        secrets = [self._unseal(sealed).decode() for sealed in address.sealed_secrets]
        if not secrets:
            raise ValueError("the endpoint has no secret")
        return own, secrets


def _is_replay(claimed: Claimed) -> bool:
    return lanes.is_replay(created_at_of(claimed.event_id), claimed.window_started_at)


def _place_of(tick: Sequence[Any]) -> int:
    """Where in the log a tick is."""
    _, _, _, no, _ = tick
    return int(no)
