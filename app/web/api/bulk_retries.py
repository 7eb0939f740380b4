"""/v1/bulk-retries: having everything attempted again that failed or was cancelled, as far as filters let it in; or
what an endpoint has missed delivered to it."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint
from sqlalchemy import Row

from app.core import ids
from app.core.times import read_time
from app.core.wire.envelope import rfc3339
from app.delivery import bulk
from app.delivery.bulk import BulkFilters
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import Field, id_field, type_filter
from app.web.http.routes import route

api = Blueprint("bulk_retries", __name__)

FILTERS = (
    id_field("endpoint_id", ids.ENDPOINT, "only deliveries to this endpoint"),
    type_filter("event_type", "only of this type"),
    Field(
        "status",
        "text",
        "only deliveries that failed, or only cancelled ones; or missed: events that the filters of this endpoint let"
        " through and of which it has no delivery, because it was disabled or not there; needs endpoint_id then",
        choices=bulk.ABOUT,
    ),
    Field("since", "time", "only deliveries made at this time or later; of missed ones, events"),
    Field("until", "time", "only deliveries made before this time; of missed ones, events"),
)


@route(
    api,
    "POST",
    "/v1/bulk-retries",
    scope="operate",
    body=FILTERS,
    answers={202: "BulkRetry"},
    refusals=("too_many", "not_found"),
    summary="Have all deliveries attempted again that failed or were cancelled, as far as these filters let them in, or"
    " what an endpoint has missed delivered to it",
)
def order_bulk_retry(call: Call) -> Answer:
    connection = call.session.connection()
    id = bulk.order(connection, _filters(call.workspace_id, call.body), call.caller.key_id)
    return Answer(_shown(bulk.find(connection, id)), 202)


@route(
    api,
    "GET",
    "/v1/bulk-retries/count",
    scope="operate",
    query=FILTERS,
    answers={200: "BulkCount"},
    refusals=("not_found",),
    summary="Count what a bulk retry with these filters would attempt again; a dry run, which changes nothing",
)
def count_bulk_retry(call: Call) -> Answer:
    found = bulk.count(call.session.connection(), _filters(call.workspace_id, call.args))
    return Answer({"count": found.ready, "skipped": found.skipped, "endpoints": found.endpoints, "more": found.more})


@route(
    api,
    "GET",
    "/v1/bulk-retries",
    scope="operate",
    query=paging.PAGE,
    answers={200: "BulkRetryList"},
    summary="List bulk retries, newest first",
)
def list_bulk_retries(call: Call) -> Answer:
    read = partial(bulk.list_orders, call.session.connection(), call.workspace_id)
    return Answer(paging.newest_first(call.args, ids.BULK_RETRY, read, _shown))


@route(
    api,
    "GET",
    "/v1/bulk-retries/{bulk_id}",
    scope="operate",
    answers={200: "BulkRetry"},
    summary="Read how far a bulk retry has come",
)
def get_bulk_retry(call: Call, bulk_id: str) -> Answer:
    return Answer(_shown(bulk.find(call.session.connection(), bulk_id, call.workspace_id)))


@route(
    api,
    "POST",
    "/v1/bulk-retries/{bulk_id}/cancel",
    scope="operate",
    body=(),
    answers={200: "BulkRetry"},
    summary="Stop a bulk retry: what it has made pending is delivered, the rest stays as it is",
)
def cancel_bulk_retry(call: Call, bulk_id: str) -> Answer:
    connection = call.session.connection()
    bulk.cancel(connection, bulk_id, call.workspace_id)
    return Answer(_shown(bulk.find(connection, bulk_id, call.workspace_id)))


def _filters(workspace_id: str, given: dict[str, Any]) -> BulkFilters:
    return BulkFilters(
        workspace_id,
        endpoint=given.get("endpoint_id"),
        event_type=given.get("event_type"),
        status=given.get("status"),
        since=read_time(given["since"]) if "since" in given else None,
        until=read_time(given["until"]) if "until" in given else None,
    )


def _shown(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "status": row.status,
        "filters": _given(BulkFilters.read(None, row.filters)),
        "count": row.found,
        "retried": row.retried,
        "created_at": rfc3339(row.created_at),
        "finished_at": None if row.finished_at is None else rfc3339(row.finished_at),
    }


def _given(filters: BulkFilters) -> dict[str, Any]:
    """The filters as they were given."""
    shown = {
        "endpoint_id": filters.endpoint,
        "event_type": filters.event_type,
        "status": filters.status,
        "since": None if filters.since is None else rfc3339(filters.since),
        "until": None if filters.until is None else rfc3339(filters.until),
    }
    return {name: value for name, value in shown.items() if value is not None}
