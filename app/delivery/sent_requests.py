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

from sqlalchemy import Connection, Row

from app.core import ids, sealing
from app.core.times import read_time
from app.core.webhook import batches, lanes
from app.core.webhook.headers import DEFAULTS, FEED_CURSOR, signed

MASKED, NOT_KEPT = "[masked]", "[not kept]"
NOT_SENT = "not sent: "  # how the error of an attempt begins whose request could not be made

# An endpoint as it is now, with its secrets, newest first, and the bytes of an event. A rotated secret is kept until
# its end.
_READ = """
SELECT e.url, e.sealed_headers, e.feed_cursor, e.created_at, e.updated_at, e.ordering, v.body, d.window_started_at,
  ARRAY(SELECT s.sealed FROM endpoint_secrets s WHERE s.endpoint_id = e.id ORDER BY s.id DESC) AS secrets,
  ARRAY(SELECT s.created_at FROM endpoint_secrets s WHERE s.endpoint_id = e.id ORDER BY s.id DESC) AS made,
  ARRAY(SELECT s.expires_at FROM endpoint_secrets s WHERE s.endpoint_id = e.id ORDER BY s.id DESC) AS ends
FROM endpoints e LEFT JOIN events v ON v.id = %(event)s AND v.created_at = %(event_at)s
  LEFT JOIN deliveries d ON d.id = %(delivery)s AND d.created_at = %(delivery_at)s
WHERE e.id = %(endpoint)s AND e.workspace_id = %(workspace)s
"""


@dataclass(frozen=True, slots=True)
class _Sender:
    """What the requests of a delivery were made of. own: the customer's headers; None when nothing opens them."""

    row: Row[Any]
    own: dict[str, str] | None
    secrets: Sequence[tuple[str, datetime, datetime | None]]


def add_requests(connection: Connection, secret_keys: Sequence[str], delivery: dict[str, Any]) -> dict[str, Any]:
    """A delivery of reads.get_delivery, whose attempts tell their requests, too.

    None: the endpoint is deleted, or the request could not be made.
    """
    if not delivery["attempts"]:
        return delivery
    asked = {
        "endpoint": delivery["endpoint_id"],
        "workspace": delivery["workspace_id"],
        "event": delivery["event_id"],
        "event_at": ids.created_at_of(delivery["event_id"]),
        "delivery": delivery["id"],
        "delivery_at": ids.created_at_of(delivery["id"]),
    }
    row = connection.exec_driver_sql(_READ, asked).one_or_none()
    sender = None if row is None else _opened(row, secret_keys)
    told = [attempt | {"request": _request(sender, delivery, attempt)} for attempt in delivery["attempts"]]
    return delivery | {"attempts": told}


def _opened(row: Row[Any], secret_keys: Sequence[str]) -> _Sender:
    own: dict[str, str] | None = {}
    secrets = []
    try:
        if row.sealed_headers is not None:
            own = json.loads(sealing.unseal(secret_keys, row.sealed_headers))
    except sealing.UnsealError:  # SECRET_KEY has changed
        own = None
    for sealed, made, end in zip(row.secrets, row.made, row.ends, strict=True):
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
