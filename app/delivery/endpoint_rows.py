"""The rows of endpoints: how what a caller wants is written into them, and what of them is sealed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import ids, sealing
from app.core.event.filters.reading import as_text
from app.core.problem import Problem
from app.core.webhook import batches
from app.database.tables import Endpoint
from app.delivery import deliveries, lane_rows
from app.delivery.cancelling import cancel_pending
from app.settings import Settings

ENABLED, DISABLED = "enabled", "disabled"
HMAC, ED25519 = "hmac", "ed25519"
BY_OWNER = "disabled_by_owner"  # disabled_reason when a person did it; the drain writes others

# What a request says as it is stored, and what is stored when it says nothing.
PLAIN: dict[str, Any] = {
    "description": "",
    "event_types": None,
    "stream_kinds": None,
    "channels": None,
    "rate_limit": None,
    "timeout_seconds": None,
    "retry_delays_seconds": None,
    "feed_cursor": False,
    "order": None,
    "order_patience_seconds": None,
}


def add(session: Session, settings: Settings, workspace_id: str, wanted: Mapping[str, Any]) -> Endpoint:
    """A new endpoint, without secrets; its workspace is locked. Raises Problem too_many."""
    count = session.scalar(select(func.count()).select_from(Endpoint).where(Endpoint.workspace_id == workspace_id))
    if (count or 0) >= settings.max_endpoints:
        raise Problem("too_many", f"This workspace has {count} endpoints, the most there may be; delete one.")
    now = ids.truncate(datetime.now(UTC))
    is_enabled = wanted.get("enabled", True)
    row = Endpoint(
        id=ids.make(ids.ENDPOINT, now, os.urandom(ids.RANDOM_BYTES)),
        workspace_id=workspace_id,
        uid=wanted.get("uid"),
        url=wanted["url"],
        signing=wanted.get("signing", HMAC),
        status=ENABLED if is_enabled else DISABLED,
        disabled_reason=None if is_enabled else BY_OWNER,
        disabled_at=None if is_enabled else now,
        created_at=now,
        updated_at=now,
        consecutive_failures=0,
        sealed_headers=_seal_headers(settings, wanted.get("headers")),
        own_metadata=wanted.get("metadata") or {},
        content_filter=_filter_text(wanted),
        **_batch_columns(wanted.get("batch")),
        **{name: wanted.get(name, default) for name, default in PLAIN.items()},
    )
    session.add(row)
    session.flush()
    if row.order is not None:
        lane_rows.begin_new(session, row)
    session.refresh(row)
    return row


def change(session: Session, settings: Settings, row: Endpoint, wanted: Mapping[str, Any]) -> None:
    """Give a locked endpoint what `wanted` names. One that is so already stays unchanged, its time of change too."""
    order = row.order
    for name in ("uid", "url", *PLAIN):
        if name in wanted:
            setattr(row, name, wanted[name])
    if row.order != order:
        (lane_rows.end if row.order is None else lane_rows.begin)(session, row)
    if "metadata" in wanted:
        row.own_metadata = wanted["metadata"] or {}
    if "content_filter" in wanted:
        row.content_filter = _filter_text(wanted)
    if "batch" in wanted:
        for name, value in _batch_columns(wanted["batch"]).items():
            setattr(row, name, value)
    if "headers" in wanted and (wanted["headers"] or {}) != headers_of(settings, row):
        row.sealed_headers = _seal_headers(settings, wanted["headers"])
    status = wanted.get("status", row.status)
    if "enabled" in wanted:
        status = ENABLED if wanted["enabled"] else DISABLED
    if status != row.status:
        if status == ENABLED:
            _enable(row)
        else:
            _disable(session, row)
    if session.is_modified(row):
        row.updated_at = ids.truncate(datetime.now(UTC))
    session.flush()


def header_names(settings: Settings, row: Endpoint) -> list[str]:
    """The names of an endpoint's extra headers, in the order in which they were given."""
    return list(headers_of(settings, row))


def headers_of(settings: Settings, row: Endpoint) -> dict[str, str]:
    """An endpoint's extra headers, unsealed."""
    if row.sealed_headers is None:
        return {}
    headers: dict[str, str] = json.loads(sealing.unseal(settings.secret_keys, row.sealed_headers))
    return headers


def sealed(settings: Settings, text: str) -> bytes:
    """A text as it is kept at rest."""
    return sealing.seal(settings.secret_key, text.encode(), os.urandom(sealing.NONCE_BYTES))


def _filter_text(wanted: Mapping[str, Any]) -> str | None:
    return None if wanted.get("content_filter") is None else as_text(wanted["content_filter"])


def _seal_headers(settings: Settings, headers: Mapping[str, str] | None) -> bytes | None:
    return sealed(settings, json.dumps(dict(headers))) if headers else None


def _enable(row: Endpoint) -> None:
    row.status = ENABLED
    row.disabled_reason = row.disabled_at = row.failing_since = row.last_outcome = None
    row.consecutive_failures = 0


def _batch_columns(batch: Mapping[str, Any] | None) -> dict[str, int | None]:
    if batch is None:
        return {"batch_max_events": None, "batch_max_wait_ms": None}
    most, wait = batch.get("max_events", batches.MAX_EVENTS), batch.get("max_wait_ms", batches.MAX_WAIT_MS)
    return {"batch_max_events": int(most), "batch_max_wait_ms": int(wait)}


def _disable(session: Session, row: Endpoint) -> None:
    row.status, row.disabled_reason, row.disabled_at = DISABLED, BY_OWNER, ids.truncate(datetime.now(UTC))
    cancel_pending(session.connection(), row.id, deliveries.ENDPOINT_DISABLED)
