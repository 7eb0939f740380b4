"""A delivery as one timeline, for the console and the customer portal alike: what templates/log/timeline.html shows."""

from __future__ import annotations

import shlex
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session

from app.core import ids, sealing
from app.core.problem import Problem
from app.core.webhook import lanes
from app.core.wire.envelope import data_of, metadata_of
from app.database.partitions import database_time
from app.delivery import browsing, endpoints, lane_reads, reads, search, waiting
from app.delivery.lane_reads import Standing
from app.settings import Settings
from app.web.pages import spent
from app.web.pages.console import queries

KEPT_BODY_BYTES = 16 * 1024  # of a response; what has as many was cut


def find_row(connection: Connection, delivery_id: str, workspace: str | None = None) -> Row[Any]:
    """A delivery as the log shows it. workspace: whose it has to be. Raises Problem not_found."""
    is_id = queries.id_or_none(delivery_id, ids.DELIVERY) is not None
    rows = search.rows_of(connection, [(delivery_id, None)]) if is_id else []
    if not rows or workspace not in (None, rows[0].workspace_id):
        raise Problem("not_found", "There is no such delivery. It may be older than deliveries are kept.")
    return rows[0]


def values_of(connection: Connection, settings: Settings, row: Row[Any]) -> dict[str, Any]:
    """Everything that a delivery's page shows. row: of `find_row`."""
    now = database_time(connection)
    event = browsing.get_event(connection, row.event_id)
    found = browsing.endpoints_page(connection, id=row.endpoint_id, limit=1)
    body = None if event is None else bytes(event.body).decode("utf-8", "replace")
    standing = lane_reads.standing_of(connection, row.id)
    names = header_names(connection, settings, row.workspace_id, row.endpoint_id) if found else []
    return {
        "row": row,
        "now": now,
        "attempts": [_attempt(one) for one in search.attempts_of(connection, row.id)],
        "standing": standing,
        "told": _told(standing, row),
        "replays": lanes.is_replay(row.event_created_at, row.window_started_at),
        "next": waiting.next_attempts(connection, [row.id]).get(row.id),
        "endpoint": found[0] if found else None,
        "body": body,
        "metadata": None if event is None else metadata_of(bytes(event.body)).decode("utf-8", "replace"),
        "payload": None if event is None else data_of(bytes(event.body)).decode("utf-8", "replace"),
        "header_names": names,
        "curl": None if body is None or not found else _curl(found[0].url, row.event_id, now, body),
    }


def header_names(connection: Connection, settings: Settings, workspace_id: str, endpoint_id: str) -> list[str]:
    """The names of an endpoint's own headers; none when SECRET_KEY has changed and nothing opens them."""
    with Session(connection) as session, suppress(sealing.UnsealError):
        return endpoints.header_names(settings, endpoints.get_endpoint(session, workspace_id, endpoint_id))
    return []


def _told(standing: Standing | None, row: Row[Any]) -> list[tuple[str, str]]:
    """What the next request says of the delivery's place in its stream, as headers."""
    replay = lanes.is_replay(row.event_created_at, row.window_started_at)
    return lanes.headers(None if standing is None else standing.place, replay=replay)


def _attempt(row: Row[Any]) -> dict[str, Any]:
    body = None if row.response_body is None else bytes(row.response_body)
    timing = reads.timing_ms(row)
    return {
        "row": row,
        "body": None if body is None else body.decode("utf-8", "replace"),
        "cut": body is not None and len(body) >= KEPT_BODY_BYTES,
        "headers": row.response_headers or {},
        "spent": [] if timing is None else spent.parts_of(timing),
    }


def _curl(url: str, event_id: str, now: datetime, body: str) -> str:
    """The webhook as a command for a shell, but for its signature: that takes the endpoint's secret."""
    lines = [
        f"curl -X POST {shlex.quote(url)}",
        "-H 'Content-Type: application/json'",
        f"-H 'webhook-id: {event_id}'",
        f"-H 'webhook-timestamp: {int(now.timestamp())}'",
        f"--data-raw {shlex.quote(body)}",
    ]
    return " \\\n  ".join(lines)
