"""Endpoint health: the end of an endpoint that is gone, or has not answered for days.

How an endpoint has been answering is counted where its outcomes are recorded (database/functions/endpoint_tallies.sql).
An endpoint that somebody else has locked is skipped there and here (a recovery may take long, and all others'
deliveries would wait for it); here, so is one whose workspace is locked. Its count is lost, and its next failure says
once more that it has failed for too long. Only a 410, or `webhook-delivery: disable`, is remembered until its endpoint
can be locked: an endpoint that is gone is not sent anything again that could tell us once more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

log = logging.getLogger(__name__)

GONE = "endpoint_gone: the endpoint answered 410 Gone"
BY_RECEIVER = "disabled_by_receiver: the endpoint answered webhook-delivery: disable"
FAILING = "endpoint_failing: every attempt has failed since {since:%Y-%m-%d %H:%M} UTC"


class Gone(NamedTuple):
    """That an endpoint wants no more, and when it said so. by_header: by `webhook-delivery: disable`, not by 410."""

    said_at: datetime
    by_header: bool = False


@dataclass(frozen=True, slots=True)
class Disabled:
    """What came of disabling endpoints.

    endpoint_ids: they are disabled now; what they have pending, which may be much, is to be cancelled.
    gone_but_locked: endpoints that said that they want no more while somebody else had locked their rows.
    """

    endpoint_ids: list[str] = field(default_factory=list)
    gone_but_locked: dict[str, Gone] = field(default_factory=dict)


def disable_gone(connection: Connection, gone: Mapping[str, Gone]) -> Disabled:
    """Disable endpoints that want no more, by their ids, unless somebody has changed them since they said so."""
    since = [one.said_at for one in gone.values()]
    unchanged = list(connection.exec_driver_sql(_STILL_GONE, {"ids": list(gone), "since": since}).scalars())
    locked = set(connection.exec_driver_sql(_LOCK, {"ids": unchanged}).scalars()) if unchanged else set()
    for endpoint_id in sorted(locked):
        _disable(connection, endpoint_id, BY_RECEIVER if gone[endpoint_id].by_header else GONE)
    return Disabled(sorted(locked), {id: gone[id] for id in unchanged if id not in locked})


def disable_failing(connection: Connection, failing: Mapping[str, datetime]) -> list[str]:
    """Disable endpoints that have failed for too long; the ids of those that somebody else has not locked.

    failing: since when each has failed, by endpoint id. One that has answered meanwhile stays enabled.
    """
    values = {"ids": list(failing), "since": list(failing.values())}
    locked = list(connection.exec_driver_sql(_LOCK_FAILING, values).scalars())
    for endpoint_id in locked:
        _disable(connection, endpoint_id, FAILING.format(since=failing[endpoint_id]))
    return locked


def _disable(connection: Connection, endpoint_id: str, reason: str) -> None:
    connection.exec_driver_sql(_DISABLE, {"id": endpoint_id, "reason": reason})
    log.warning("endpoint %s is disabled (%s); what it has pending is cancelled", endpoint_id, reason)


# Which of the endpoints that want no more are as they were when they said so.
_STILL_GONE = """
SELECT e.id FROM endpoints e
JOIN unnest(%(ids)s::text[], %(since)s::timestamptz[]) AS gone (id, since) ON gone.id = e.id
WHERE e.status = 'enabled' AND e.updated_at <= gone.since
"""

# Lock endpoints with their workspaces, but for those that somebody else has locked. A workspace's row is written with
# the commit, which counts its endpoints' version up: while somebody deletes the workspace, all others' deliveries would
# wait for that.
_LOCK = """
SELECT e.id FROM endpoints e JOIN workspaces w ON w.id = e.workspace_id WHERE e.id = ANY (%(ids)s::text[])
ORDER BY e.id FOR UPDATE OF e SKIP LOCKED FOR NO KEY UPDATE OF w SKIP LOCKED
"""

# Lock those endpoints that still fail since then, with their workspaces, but for those that somebody else has locked.
_LOCK_FAILING = """
SELECT e.id FROM endpoints e
JOIN unnest(%(ids)s::text[], %(since)s::timestamptz[]) AS failing (id, since) ON failing.id = e.id
JOIN workspaces w ON w.id = e.workspace_id
WHERE e.status = 'enabled' AND e.failing_since = failing.since
ORDER BY e.id FOR UPDATE OF e SKIP LOCKED FOR NO KEY UPDATE OF w SKIP LOCKED
"""

# Disable one endpoint, which its owner may have done in the meantime.
_DISABLE = """
UPDATE endpoints SET status = 'disabled', disabled_reason = %(reason)s, disabled_at = now(), updated_at = now()
WHERE id = %(id)s AND status = 'enabled'
"""
