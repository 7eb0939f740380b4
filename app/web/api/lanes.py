"""/v1/endpoints/{endpoint_id}/lanes: what waits for what at an endpoint that keeps order."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from app.core.webhook import batches, lanes
from app.core.wire.envelope import rfc3339
from app.delivery import endpoint_rules, endpoints, lane_rows
from app.ledger.streams import find_stream
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import Field, stream_fields
from app.web.http.routes import route

api = Blueprint("lanes", __name__)

KIND, STREAM = stream_fields("with stream_id: only this stream", "only this stream; needs stream_kind")

# What an endpoint says of order, and of events that travel together.
FIELDS = (
    Field(
        "order",
        "text",
        "stream: the events of each stream one after the other, the next when the last was answered with 2xx or given"
        " up; null: as they come",
        nullable=True,
        choices=(lanes.STREAM,),
    ),
    Field(
        "order_patience_seconds",
        "integer",
        "with order: for how long a failing event holds up its stream while the endpoint takes those of others; then"
        f" they go on without it, and it arrives late; null: {lanes.PATIENCE_SECONDS}",
        nullable=True,
        least=lanes.LEAST_PATIENCE_SECONDS,
        most=lanes.LONGEST_PATIENCE_SECONDS,
    ),
    Field(
        "batch",
        "object",
        "several events in one request, a JSON array of envelopes: max_events at most, of which none waits longer than"
        f" max_wait_ms for others, and {batches.MOST_BYTES // 1024} KiB; {{}}: {batches.MAX_EVENTS} events and"
        f" {batches.MAX_WAIT_MS} ms; null: each event by itself",
        nullable=True,
        shape={
            "properties": {
                name: {"type": "integer", "minimum": least, "maximum": most}
                for name, (least, most) in endpoint_rules.BATCH_BOUNDS.items()
            },
            "additionalProperties": False,
        },
        example={"max_events": 100, "max_wait_ms": 1000},
    ),
)


@route(
    api,
    "GET",
    "/v1/endpoints/{endpoint_id}/lanes",
    scope="manage",
    query=(KIND, STREAM, *paging.PAGE),
    answers={200: "LaneList"},
    summary="List the streams of an endpoint that keeps order in which something waits, with what is first in each",
)
def endpoint_lanes(call: Call, endpoint_id: str) -> Answer:
    row = endpoints.get_endpoint(call.session, call.workspace_id, endpoint_id)
    if STREAM.name in call.args:
        return Answer(paging.page(_of_stream(call, row.id), 1, lambda lane: str(lane.stream_no), _shown_lane))
    limit, after = paging.limit_of(call.args), paging.after_cursor(call.args, paging.is_number)
    found = lane_rows.waiting_lanes(
        call.session.connection(), row.id, limit=limit + 1, after=None if after is None else int(after)
    )
    return Answer(paging.page(found, limit, lambda lane: str(lane.stream_no), _shown_lane))


def _of_stream(call: Call, endpoint_id: str) -> list[lane_rows.WaitingLane]:
    """The lane of the stream that is asked for, if something waits there."""
    connection = call.session.connection()
    stream = find_stream(connection, call.workspace_id, call.args[KIND.name], call.args[STREAM.name])
    if stream is None:
        return []
    found = lane_rows.waiting_lanes(connection, endpoint_id, limit=1, after=stream.id - 1)
    return [lane for lane in found if lane.stream_no == stream.id]


def _shown_lane(lane: lane_rows.WaitingLane) -> dict[str, Any]:
    return {
        "stream": {"kind": lane.kind, "id": lane.stream},
        "head": {
            "delivery_id": lane.delivery_id,
            "event_id": lane.event_id,
            "seq": lane.seq,
            "since": rfc3339(lane.created_at),
            "sending": lane.sending,
            "attempt_count": lane.attempt_count,
            "reason": lane.reason,
            "next_attempt_at": None if lane.due_at is None else rfc3339(lane.due_at),
            "blocked_seconds": round(lane.blocked_seconds),
        },
        "behind": lane.behind,
    }
