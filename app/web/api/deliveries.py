"""/v1/deliveries: the delivery log, and having a delivery attempted again."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from flask import Blueprint
from sqlalchemy.orm import Session

from app.core import ids
from app.core.times import read_time
from app.delivery import deliveries, endpoints, reads
from app.ledger import events
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import Field, endpoint_field, type_filter
from app.web.http.routes import route

api = Blueprint("deliveries", __name__)

STATUS = Field("status", "text", "only deliveries in this state", choices=reads.STATUSES)
ENDPOINT = endpoint_field("only deliveries to this endpoint")
TYPE = type_filter("event_type", "only of this type")
SINCE = Field("since", "time", "only deliveries made at this time or later")
UNTIL = Field("until", "time", "only deliveries made before this time")


@route(
    api,
    "GET",
    "/v1/deliveries",
    scope="operate",
    query=(STATUS, ENDPOINT, TYPE, SINCE, UNTIL, *paging.PAGE),
    answers={200: "DeliveryList"},
    summary="Read the delivery log, newest first",
)
def list_deliveries(call: Call) -> Answer:
    return _page(call, None)


@route(
    api,
    "GET",
    "/v1/events/{event_id}/deliveries",
    scope="operate",
    query=(STATUS, *paging.PAGE),
    answers={200: "DeliveryList"},
    summary="List the deliveries of an event, newest first",
)
def list_deliveries_of_event(call: Call, event_id: str) -> Answer:
    events.get_event(call.session, call.workspace_id, event_id)
    return _page(call, event_id)


@route(
    api,
    "GET",
    "/v1/deliveries/{delivery_id}",
    scope="operate",
    transaction=False,
    judges=True,
    answers={200: "DeliveryWithAttempts"},
    summary="Read a delivery with its attempts",
)
def get_delivery(call: Call, delivery_id: str) -> Answer:
    return Answer(reads.read_delivery(call.engine.database, call.judged_along, call.workspace_id, delivery_id))


@route(
    api,
    "POST",
    "/v1/deliveries/{delivery_id}/retry",
    scope="operate",
    body=(),
    answers={202: "DeliveryWithAttempts"},
    summary="Attempt a delivery now; one that has ended starts over with its whole schedule",
)
def retry_delivery(call: Call, delivery_id: str) -> Answer:
    deliveries.retry_delivery(
        call.session,
        call.workspace_id,
        delivery_id,
        window_seconds=call.engine.settings.delivery_window_seconds,
    )
    call.due = True
    return Answer(reads.get_delivery(call.session, call.workspace_id, delivery_id), 202)


def _page(call: Call, event_id: str | None) -> Answer:
    read = partial(
        reads.list_deliveries,
        call.session,
        call.workspace_id,
        status=call.args.get("status"),
        endpoint_id=named_endpoint(call.session, call.workspace_id, call.args),
        event_id=event_id,
        event_type=call.args.get("event_type"),
        since=_moment(call.args, "since"),
        until=_moment(call.args, "until"),
    )
    return Answer(paging.newest_first(call.args, ids.DELIVERY, read, lambda row: row))


def named_endpoint(session: Session, workspace_id: str, args: dict[str, Any]) -> str | None:
    """The id of the endpoint that a query names; None when it names none, "" for a uid that no endpoint has."""
    if "endpoint_id" not in args:
        return None
    return endpoints.find_id(session, workspace_id, args["endpoint_id"]) or ""


def _moment(args: dict[str, Any], name: str) -> datetime | None:
    return read_time(args[name]) if name in args else None
