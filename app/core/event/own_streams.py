"""A workspace's own streams: they take the events that name no stream, and what Twofold itself has to tell.

Eight for events, so that a producer of many does not wait for one row's lock, and `operations` apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.core.event.drafts import Draft
from app.core.event.names import OWN_KIND

OPERATIONS = "operations"
ENDPOINT_DISABLED, ENDPOINT_FAILING, ENDPOINT_RECOVERED = "endpoint.disabled", "endpoint.failing", "endpoint.recovered"
DELIVERY_EXHAUSTED, LANE_SKIPPED = "delivery.exhausted", "lane.skipped"
_ENDPOINT = {"id": "ep_01k00000000000000000000000", "url": "https://example.com/in", "description": "orders"}
# What each of our events says, and an example of its data. One about an endpoint's state is told once it has lasted,
# and at most one a minute; delivery.exhausted and lane.skipped are told for all deliveries of a minute together.
TYPES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ENDPOINT_DISABLED: (
        "An endpoint was disabled: by its owner, because it asked for that, or because it has failed for days.",
        {
            "endpoint": _ENDPOINT,
            "reason": "endpoint_gone: the endpoint answered 410 Gone",
            "disabled_at": "2026-11-20T10:00:00.000Z",
        },
    ),
    ENDPOINT_FAILING: (
        "Every attempt at an endpoint has failed for a minute.",
        {
            "endpoint": _ENDPOINT,
            "failing_since": "2026-11-20T10:00:00.000Z",
            "consecutive_failures": 12,
            "last_outcome": "timeout",
        },
    ),
    ENDPOINT_RECOVERED: ("An endpoint that was told to be failing answers again.", {"endpoint": _ENDPOINT}),
    DELIVERY_EXHAUSTED: (
        "Deliveries to an endpoint were given up at their deadline. delivery_ids names the first twenty of them.",
        {
            "endpoint": _ENDPOINT,
            "count": 2,
            "since": "2026-11-20T10:00:00.000Z",
            "delivery_ids": ["dlv_01k00000000000000000000000", "dlv_01k00000000000000000000001"],
        },
    ),
    LANE_SKIPPED: (
        "An endpoint that keeps order goes on with its streams without events that it has failed to take for long, or"
        " that a person has skipped. They are still attempted, and arrive late. delivery_ids names the first twenty.",
        {
            "endpoint": _ENDPOINT,
            "count": 1,
            "since": "2026-11-20T10:00:00.000Z",
            "delivery_ids": ["dlv_01k00000000000000000000000"],
        },
    ),
}


def operational(type: str, data: Mapping[str, Any], key: str | None = None) -> Draft:
    """What Twofold tells a workspace's owner, such as endpoint.disabled, as an event of `operations`.

    data: a JSON object. key: an idempotency key, for what several processes may tell.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Draft(OWN_KIND, OPERATIONS, type, text, data, None, key)
