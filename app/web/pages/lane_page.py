"""What the pages of lanes show, in the console and in the portal: what stands first in each, and why it waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from app.core.webhook.lanes import PATIENCE_SECONDS
from app.delivery import lane_reads, lane_rows, search
from app.delivery.lane_reads import StoppedLane
from app.web.pages.console import queries

MOST_STOPPED = 100  # of the page that is about all endpoints


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane and its first delivery, as the log shows that, with its last attempt; None when it has just ended."""

    stopped: StoppedLane
    first: Row[Any] | None

    @property
    def is_stopped(self) -> bool:
        """Whether the first delivery has failed, and the others wait for it."""
        return self.stopped.lane.attempt_count > 0

    @property
    def left_seconds(self) -> float:
        """For how long it may still fail before its stream goes on without it."""
        return max(0.0, self.stopped.patience_seconds - self.stopped.lane.blocked_seconds)


@dataclass(frozen=True, slots=True)
class LanePage:
    """Lanes of one endpoint. cursor: of the next page, None at the end."""

    rows: Sequence[LaneRow]
    cursor: int | None


def stopped(connection: Connection, workspace: str | None = None) -> list[LaneRow]:
    """Lanes that stand still, the oldest first; of one workspace or of all."""
    return _with_deliveries(connection, lane_reads.stopped_lanes(connection, workspace=workspace, limit=MOST_STOPPED))


def of_endpoint(connection: Connection, endpoint: Row[Any], after: int | None) -> LanePage:
    """The lanes of an endpoint in which something waits. after: the number of a stream."""
    found = lane_rows.waiting_lanes(connection, endpoint.id, limit=queries.PAGE_ROWS + 1, after=after)
    patience = endpoint.order_patience_seconds or PATIENCE_SECONDS
    shown = found[: queries.PAGE_ROWS]
    lanes = [StoppedLane(one, endpoint.id, patience, endpoint.last_outcome == search.SUCCESS) for one in shown]
    cursor = shown[-1].stream_no if len(found) > len(shown) else None
    return LanePage(_with_deliveries(connection, lanes), cursor)


def back_to(base: str, form: Mapping[str, str], delivery: Row[Any]) -> str:
    """Where somebody goes who has skipped or retried a delivery: to the lanes that they came from, else to it."""
    places = {"lanes": f"{base}/lanes", "endpoint": f"{base}/endpoints/{delivery.endpoint_id}/lanes"}
    return places.get(form.get("back", ""), f"{base}/deliveries/{delivery.id}")


def has_ended(form: Mapping[str, str], delivery: Row[Any]) -> bool:
    """Whether a form of the pages of lanes, which may be seconds old, is about a delivery that waits no more."""
    return form.get("back") in ("lanes", "endpoint") and delivery.status != search.PENDING_STATUS


def _with_deliveries(connection: Connection, lanes: Sequence[StoppedLane]) -> list[LaneRow]:
    rows = search.rows_of(connection, [(one.lane.delivery_id, None) for one in lanes])
    firsts = {row.id: row for row in rows}
    return [LaneRow(one, firsts.get(one.lane.delivery_id)) for one in lanes]
