"""Grants: how many rows each endpoint may have in one claim.

The function that claims gives every endpoint what it has room for, as long as the places suffice for all; what it needs
to know for that is said here. When places are short it leaves the decision to core.webhook.fairness, by way of `grant`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from app.core.webhook import fairness
from app.core.webhook.fairness import LANES, Lane, Slots

# Endpoints that the function is told of one by one. When more have transfers, the decision is left to us anyway.
MOST_TOLD = 64


def places(slots: Slots, *, fast_only: bool) -> dict[str, Any]:
    """What drain_round has to know: the free places of each lane, the room of an endpoint that this drain does not
    know, and the rooms of those that it knows. fast_only: nothing for endpoints of the slow lane."""
    lanes = [lane for lane in LANES if not (fast_only and lane == "slow")]
    asked: dict[str, Any] = {"free": {lane: slots.free(lane) for lane in lanes}}
    if len(slots.known) <= MOST_TOLD:
        asked["rooms"] = {lane: slots.room("", lane) for lane in LANES}
        asked["known"] = {endpoint_id: _known(endpoint_id, slots) for endpoint_id in slots.known}
    return asked


def grant(asking: Sequence[dict[str, Any]], slots: Slots, *, complete: bool, lanes: Collection[str]) -> dict[str, int]:
    """Share the free places among enabled endpoints that have something due; those that get none are left out.

    asking: as drain_round answers them. complete: whether these are all. lanes: those that get something at all.
    """
    its_lane = {
        row["endpoint_id"]: lane_of(row["endpoint_id"], row["consecutive_failures"], row["last_outcome"], slots)
        for row in asking
    }
    rows = {row["endpoint_id"]: row["rows"] for row in asking}
    shares: dict[str, int] = {}
    for lane in LANES:
        if lane not in lanes:
            continue
        endpoint_ids = [endpoint_id for endpoint_id in its_lane if its_lane[endpoint_id] == lane]
        rooms = [
            min(slots.room(endpoint_id, lane, crowded=not complete), rows[endpoint_id] or fairness.FAST_PLACES)
            for endpoint_id in endpoint_ids
        ]
        divided = fairness.divide(rooms, slots.free(lane))
        shares.update({id: share for id, share in zip(endpoint_ids, divided, strict=True) if share})
    return shares


def lane_of(endpoint_id: str, consecutive_failures: int, last_outcome: str | None, slots: Slots) -> Lane:
    """By what its row says, and by what this drain has seen since. (The function endpoint_lane says the same.)"""
    if slots.hangs(endpoint_id):
        return "slow"
    lane = fairness.lane(consecutive_failures, last_outcome)
    return "fast" if lane == "new" and slots.answers(endpoint_id) else lane


def _known(endpoint_id: str, slots: Slots) -> dict[str, Any]:
    seen = "slow" if slots.hangs(endpoint_id) else "fast" if slots.answers(endpoint_id) else None
    return {"lane": seen} | {lane: slots.room(endpoint_id, lane) for lane in LANES}
