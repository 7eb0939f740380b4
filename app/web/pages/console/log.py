"""The delivery log and a delivery: filters in the address, pages by cursor, one timeline, retry now."""

from __future__ import annotations

import shlex
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response
from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session

from app.accounts import audit
from app.core import ids, sealing
from app.core.problem import Problem
from app.core.wire.envelope import data_of, metadata_of
from app.database.partitions import database_time
from app.delivery import browsing, deliveries, endpoints, reads, search, waiting
from app.settings import Settings
from app.web.pages.console import answers, queries
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("log", __name__)

KEPT_BODY_BYTES = 16 * 1024  # of a response; what has as many was cut


@page(api, "GET", "/console/deliveries", role=VIEWER)
def delivery_log(visit: Visit) -> Response:
    asked = queries.log_filters(visit.args)
    with visit.read() as connection:
        now = database_time(connection)
        page = search.log_page(connection, asked.filters, limit=queries.PAGE_ROWS, before=asked.before)
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "deliveries.html",
        asked=asked,
        page=page,
        now=now,
        customers=customers,
        statuses=reads.STATUSES,
        outcomes=queries.OUTCOMES,
        classes=queries.CLASSES,
    )


@page(api, "GET", "/console/search", role=VIEWER)
def find(visit: Visit) -> Response:
    text = visit.args.get("q", "").strip()
    if not text:
        return answers.redirect("/console/deliveries")
    with visit.read() as connection:
        found = [
            "/console/" + "/".join(quote(part, safe="") for part in one) for one in browsing.find(connection, text)
        ]
    if len(found) == 1:
        return answers.redirect(found[0])
    return visit.show("search.html", 200 if found else 404, text=text, found=found)


@page(api, "GET", "/console/deliveries/{delivery_id}", role=VIEWER)
def delivery(visit: Visit, delivery_id: str) -> Response:
    with visit.read() as connection:
        return visit.show("delivery.html", **_shown(connection, delivery_id, visit))


@page(api, "POST", "/console/deliveries/{delivery_id}/retry", role=OPERATOR)
def retry(visit: Visit, delivery_id: str) -> Response:
    with visit.read() as connection:
        row = _row(connection, delivery_id)
    with visit.act() as session:
        seconds = visit.engine.settings.delivery_window_seconds
        deliveries.retry_delivery(session, row.workspace_id, row.id, window_seconds=seconds)
        audit.note(session.connection(), visit.actor, "delivery.retry", target=row.id, workspace_id=row.workspace_id)
    visit.engine.ring()
    return answers.redirect(f"/console/deliveries/{row.id}", done="retried")


def _shown(connection: Connection, delivery_id: str, visit: Visit) -> dict[str, Any]:
    row = _row(connection, delivery_id)
    now = database_time(connection)
    event = browsing.get_event(connection, row.event_id)
    found = browsing.endpoints_page(connection, id=row.endpoint_id, limit=1)
    body = None if event is None else bytes(event.body).decode("utf-8", "replace")
    names = header_names(connection, visit.engine.settings, row.workspace_id, row.endpoint_id) if found else []
    return {
        "row": row,
        "now": now,
        "attempts": [_attempt(one) for one in search.attempts_of(connection, row.id)],
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


def _row(connection: Connection, delivery_id: str) -> Row[Any]:
    if queries.id_or_none(delivery_id, ids.DELIVERY) is None:
        raise Problem("not_found", "There is no such delivery.")
    rows = search.rows_of(connection, [(delivery_id, None)])
    if not rows:
        raise Problem("not_found", "There is no such delivery. It may be older than deliveries are kept.")
    return rows[0]


def _attempt(row: Row[Any]) -> dict[str, Any]:
    body = None if row.response_body is None else bytes(row.response_body)
    return {
        "row": row,
        "body": None if body is None else body.decode("utf-8", "replace"),
        "cut": body is not None and len(body) >= KEPT_BODY_BYTES,
        "headers": row.response_headers or {},
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
