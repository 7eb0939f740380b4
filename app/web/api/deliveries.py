"""/v1/deliveries: the delivery log, and having a delivery attempted again."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint
from sqlalchemy.orm import Session

from app.core import ids
from app.core.problem import invalid
from app.core.webhook.retry import Outcome
from app.delivery import deliveries, endpoints, reads, search, sent_requests
from app.delivery.search import Filters
from app.ledger import events
from app.web.http import paging
from app.web.http.call import OPTIONAL_WORKSPACE, Answer, Call
from app.web.http.fields import Field, endpoint_field, id_field, stream_fields, time_of, type_filter
from app.web.http.routes import route

api = Blueprint("deliveries", __name__)

STATUS = Field("status", "text", "only deliveries in this state", choices=reads.STATUSES)
SEVERAL = Field(
    "status",
    "texts",
    "only deliveries in one of these states, joined by commas",
    choices=reads.STATUSES,
    least=1,
    most=len(reads.STATUSES),
)
ENDPOINT = endpoint_field("only deliveries to this endpoint")
TYPE = type_filter("event_type", "only of this type")
EVENT = id_field("event_id", ids.EVENT, "only deliveries of this event")
KIND, STREAM = stream_fields(
    "only deliveries of events of a stream of this kind; needs stream_id",
    f"only deliveries of this stream's last {search.STREAM_EVENTS} events; needs stream_kind",
)
OUTCOME = Field(
    "outcome",
    "text",
    "only attempts that ended so: each row is an attempt then, unless an event or a stream is asked for",
    choices=tuple(str(outcome) for outcome in Outcome),
)
STATUS_CODE = Field(
    "status_code",
    "text",
    "only attempts that were answered so: a status such as 404, or a class such as 5xx; each row is an attempt then,"
    " unless an event or a stream is asked for",
    pattern=re.compile("[2-5](?:[0-9]{2}|xx)"),
    hint="must be a status from 200 to 599, or one of 2xx, 3xx, 4xx, 5xx",
)
SINCE = Field("since", "time", "only deliveries made at this time or later; where each row is an attempt, attempts")
UNTIL = Field("until", "time", "only deliveries made before this time; where each row is an attempt, attempts")


@route(
    api,
    "GET",
    "/v1/deliveries",
    scope="operate",
    acts_for=OPTIONAL_WORKSPACE,
    query=(SEVERAL, ENDPOINT, EVENT, KIND, STREAM, TYPE, OUTCOME, STATUS_CODE, SINCE, UNTIL, *paging.PAGE),
    answers={200: "DeliveryList"},
    summary="Read the delivery log, newest first; without a workspace, a platform key reads that of all",
)
def list_deliveries(call: Call) -> Answer:
    return _page(call, call.args.get("event_id"))


@route(
    api,
    "GET",
    "/v1/events/{event_id}/deliveries",
    scope="operate",
    query=(SEVERAL, *paging.PAGE),
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
    settings, database = call.engine.settings, call.engine.database
    return Answer(
        reads.read_delivery(database, call.judged_along, call.workspace_id, delivery_id, settings.secret_keys)
    )


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
    found = reads.get_delivery(call.session, call.workspace_id, delivery_id)
    keys = call.engine.settings.secret_keys
    return Answer(sent_requests.add_requests(call.session.connection(), keys, found), 202)


@route(
    api,
    "POST",
    "/v1/deliveries/{delivery_id}/skip",
    scope="operate",
    body=(),
    answers={202: "DeliveryWithAttempts"},
    refusals=("conflict",),
    summary="Have a stream go on without the delivery that is first in its order, which then arrives late",
)
def skip_delivery(call: Call, delivery_id: str) -> Answer:
    deliveries.skip_delivery(call.session, call.workspace_id, delivery_id)
    call.due = True
    found = reads.get_delivery(call.session, call.workspace_id, delivery_id)
    keys = call.engine.settings.secret_keys
    return Answer(sent_requests.add_requests(call.session.connection(), keys, found), 202)


def _page(call: Call, event_id: str | None) -> Answer:
    args = call.args
    code: str | None = args.get("status_code")
    filters = Filters(
        workspace=call.workspace_id or None,
        endpoint=named_endpoint(call.session, call.workspace_id, args),
        event=event_id,
        stream=args.get("stream_id"),
        stream_kind=args.get("stream_kind"),
        status=",".join(args["status"]) if "status" in args else None,
        event_type=args.get("event_type"),
        outcome=args.get("outcome"),
        status_class=int(code[0]) if code and code.endswith("xx") else None,
        status_code=int(code) if code and not code.endswith("xx") else None,
        since=time_of(args, "since"),
        until=time_of(args, "until"),
    )
    prefix = ids.ATTEMPT if filters.of_attempts else ids.DELIVERY
    before = paging.after_cursor(args, lambda mark: ids.is_id(prefix, mark))
    page = reads.list_deliveries(call.session.connection(), filters, limit=paging.limit_of(args), before=before)
    return Answer(paging.searched(page.rows, page.cursor, page.searched_to))


def named_endpoint(session: Session, workspace_id: str, args: dict[str, Any]) -> str | None:
    """The id of the endpoint that a query names; None when it names none, "" for a uid that no endpoint has. Raises
    Problem for a uid that could be any workspace's."""
    reference = args.get("endpoint_id")
    if reference is None:
        return None
    if not workspace_id and not reference.startswith(f"{ids.ENDPOINT}_"):
        raise invalid("endpoint_id", "is a uid; name the workspace in X-Workspace, or give the endpoint's id")
    return endpoints.find_id(session, workspace_id, reference) or ""
