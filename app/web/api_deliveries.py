"""/v1/deliveries: the delivery log, and having a delivery attempted again."""

from __future__ import annotations

from flask import Blueprint

from app import deliveries
from app.web.auth import Answer, Call, route

api = Blueprint("deliveries", __name__)


@route(
    api,
    "POST",
    "/v1/deliveries/{delivery_id}/retry",
    scope="operate",
    body=(),
    answers={202: "Retried"},
    summary="Attempt a delivery now; one that has ended starts over with its whole schedule",
)
def retry_delivery(call: Call, delivery_id: str) -> Answer:
    deliveries.retry_delivery(
        call.session,
        call.workspace_id,
        delivery_id,
        window_seconds=call.parts.settings.delivery_window_seconds,
    )
    call.due = True
    return Answer({"id": delivery_id, "status": "pending"}, 202)
