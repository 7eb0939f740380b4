"""The headers of a delivery: the customer's own, and the three of Standard Webhooks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial

from app.core.ids import created_at_of
from app.core.sealing import unseal
from app.core.webhook import lanes
from app.core.webhook.headers import FEED_CURSOR, signed
from app.delivery.claims import Claimed

# Unsealed secrets and headers that are kept in memory. They are found by their sealed form, so a changed one is not
# mistaken for the former one.
UNSEALED_KEPT = 4096


class Signer:
    """One process's. secret_keys: with which secrets and headers are sealed, the present one first."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._unseal = lru_cache(UNSEALED_KEPT)(partial(unseal, secret_keys))

    def headers(self, claimed: Claimed, sent_at: datetime) -> list[tuple[str, str]]:
        """The customer's headers, the three of Standard Webhooks, what there is to say of its place among others, and a
        cursor where it is wanted.

        sent_at: as the attempt is recorded, so that what was sent can be told from its row (sent_requests.py). Raises
        ValueError when headers or secrets cannot be unsealed, or there is no secret.
        """
        address = claimed.address
        own = {} if address.sealed_headers is None else json.loads(self._unseal(address.sealed_headers))
        if not isinstance(own, dict):
            raise ValueError("the endpoint's headers are damaged")
        secrets = [self._unseal(sealed).decode() for sealed in address.sealed_secrets]
        if not secrets:
            raise ValueError("the endpoint has no secret")
        replay = lanes.is_replay(created_at_of(claimed.event_id), claimed.window_started_at)
        made = signed(own, secrets, claimed.event_id, claimed.id, sent_at, claimed.body)
        made += lanes.headers(claimed.place, replay=replay)
        return made if claimed.feed_cursor is None else [*made, (FEED_CURSOR, claimed.feed_cursor)]
