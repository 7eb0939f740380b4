"""Grants: how many rows each endpoint may have in one claim.

The function that claims gives every endpoint what it has room for, as long as the places are ample; what it needs to
know for that is said here. When they are not, it leaves the decision to core.webhook, by way of `grant`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from app.core.webhook.fairness import Slots
from app.core.webhook.shares import LANES, Shares

# Endpoints that the function is told of one by one. When more have transfers, the decision is left to us anyway.
MOST_TOLD = 64


def places(slots: Slots, *, fast_only: bool) -> dict[str, Any]:
    """What drain_round has to know: the rows that may be taken of each lane without sharing, the room of an endpoint
    that this drain does not know, the rooms of those that it knows, and those that answer. fast_only: nothing for
    endpoints of the slow lane."""
    lanes = [lane for lane in LANES if not (fast_only and lane == "slow")]
    asked: dict[str, Any] = {"free": {lane: slots.ample(lane) for lane in lanes}, "answering": slots.answering}
    if len(slots.endpoints) <= MOST_TOLD:
        asked["rooms"] = {lane: slots.room("", lane) for lane in LANES}
        asked["known"] = {endpoint_id: _known(endpoint_id, slots) for endpoint_id in slots.endpoints}
    return asked


def grant(asking: Sequence[dict[str, Any]], slots: Slots, *, lanes: Collection[str]) -> Shares:
    """Share the free places among enabled endpoints that have something due.

    asking: as drain_round answers them. lanes: those that get something at all.
    """
    its_lane = {
        row["endpoint_id"]: slots.lane(row["endpoint_id"], row["consecutive_failures"], row["last_outcome"])
        for row in asking
    }
    due = {row["endpoint_id"]: row["rows"] for row in asking if row["rows"] is not None}
    return slots.shares({id: lane for id, lane in its_lane.items() if lane in lanes}, due)


def _known(endpoint_id: str, slots: Slots) -> dict[str, Any]:
    seen = "slow" if slots.hangs(endpoint_id) else "fast" if slots.answers(endpoint_id) else None
    known = {"lane": seen} | {lane: slots.room(endpoint_id, lane) for lane in LANES}
    events = slots.most_events(endpoint_id)
    return known if events is None else known | {"events": events}
