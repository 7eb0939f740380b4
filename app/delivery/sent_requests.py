"""The requests of attempts as they were sent, told from rows: nothing of them is stored with the attempt.

The time of an attempt is its webhook-timestamp, and the event's stored bytes are its body; with the endpoint's URL,
headers and secrets that makes the whole request, signature included (but for a batch of several events). Of an endpoint
no earlier state is kept: where it has been changed since, its URL and headers are those of today, and the request says
so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from app.core import ids, sealing
from app.core.times import read_time
from app.core.webhook import batches, lanes
from app.core.webhook.headers import DEFAULTS, FEED_CURSOR, signed
from app.database.calls import BOOL, BYTEA, BYTEAS, MOMENT, MOMENTS, TEXT

MASKED, NOT_KEPT = "[masked]", "[not kept]"
NOT_SENT = "not sent: "  # how the error of an attempt begins whose request could not be made

# What the requests of one delivery are made of (database/functions/read_sender.sql).
_READ = "SELECT * FROM read_sender(%(workspace)s, %(delivery)s, %(made_at)s)"
# Its columns, as database.calls has them.
SENDER = {
    "url": TEXT,
    "sealed_headers": BYTEA,
    "feed_cursor": BOOL,
    "updated_at": MOMENT,
    "ordering": TEXT,
    "body": BYTEA,
    "window_started_at": MOMENT,
    "secrets": BYTEAS,
    "secrets_made": MOMENTS,
    "secrets_end": MOMENTS,
}


@dataclass(frozen=True, slots=True)
class _Sender:
    """What the requests of a delivery were made of. own: the customer's headers; None when nothing opens them."""

    row: Any
    own: dict[str, str] | None
    secrets: Sequence[tuple[str, datetime, datetime | None]]


def add_requests(connection: Connection, secret_keys: Sequence[str], delivery: dict[str, Any]) -> dict[str, Any]:
    """A delivery of reads.get_delivery, whose attempts tell their requests, too."""
    if not delivery["attempts"]:
        return delivery
    asked = {
        "workspace": delivery["workspace_id"],
        "delivery": delivery["id"],
        "made_at": ids.created_at_of(delivery["id"]),
    }
    return with_requests(connection.exec_driver_sql(_READ, asked).one_or_none(), secret_keys, delivery)


def with_requests(row: Any, secret_keys: Sequence[str], delivery: dict[str, Any]) -> dict[str, Any]:
    """The same by a row of read_sender; None, or one without a url: the endpoint is deleted.

    The request of an attempt is None then, and when it could not be made.
    """
    sender = None if row is None or row.url is None else _opened(row, secret_keys)
    told = [attempt | {"request": _request(sender, delivery, attempt)} for attempt in delivery["attempts"]]
    return delivery | {"attempts": told}


def _opened(row: Any, secret_keys: Sequence[str]) -> _Sender:
    own: dict[str, str] | None = {}
    secrets = []
    try:
        if row.sealed_headers is not None:
            own = json.loads(sealing.unseal(secret_keys, row.sealed_headers))
    except sealing.UnsealError:  # SECRET_KEY has changed
        own = None
    for sealed, made, end in zip(row.secrets or (), row.secrets_made or (), row.secrets_end or (), strict=True):
        with suppress(sealing.UnsealError):
            secrets.append((sealing.unseal(secret_keys, sealed).decode(), made, end))
    return _Sender(row, own, secrets)


def _request(sender: _Sender | None, delivery: dict[str, Any], attempt: dict[str, Any]) -> dict[str, Any] | None:
    if sender is None or (attempt["error"] or "").startswith(NOT_SENT):
        return None
    sent_at = read_time(attempt["started_at"])
    secrets = [text for text, made, end in sender.secrets if made <= sent_at and (end is None or end > sent_at)]
    body = None if sender.row.body is None else bytes(sender.row.body)
    headers = dict(DEFAULTS)
    for name in sender.own or {}:
        headers = {other: value for other, value in headers.items() if other.lower() != name.lower()}
        headers[name] = MASKED
    id, envelope, size = attempt["batch_id"] or delivery["event_id"], body, attempt["batch_size"]
    if size is not None and body is not None:
        body = batches.body([body]) if size == 1 else None  # which others were in it is not looked for
    traced = envelope or b"" if size in (None, 1) else b""
    headers |= dict(signed({}, secrets, id, delivery["id"], sent_at, body or b"", traced))
    if sender.row.feed_cursor:
        headers[FEED_CURSOR] = NOT_KEPT
    if not secrets or body is None:
        del headers["webhook-signature"]
    window_at = sender.row.window_started_at
    if window_at is not None and sent_at >= window_at:  # of an earlier window it is not known
        headers |= dict(lanes.headers(None, replay=lanes.is_replay(ids.created_at_of(delivery["event_id"]), window_at)))
    return {
        "method": "POST",
        "url": sender.row.url,
        "headers": headers,
        "body": {"event_id": delivery["event_id"], "bytes": None if envelope is None else len(envelope)},
        "exact": "webhook-signature" in headers
        and sender.own is not None
        and sender.row.updated_at <= sent_at
        and sender.row.ordering is None,  # what it said of its place in the order is not known any more
    }
