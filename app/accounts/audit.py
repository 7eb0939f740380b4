"""The audit log: who did what, when and from where. An entry is written in the transaction of what it tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

COMMAND_LINE = "command line"

# Add an entry.
ADD = """
INSERT INTO audit_entries (created_at, user_id, actor, action, workspace_id, target, address, details)
VALUES (now(), %(user_id)s, %(actor)s, %(action)s, %(workspace)s, %(target)s, %(address)s, %(details)s::jsonb)
"""

# A page of entries, newest first, as far as {conditions} let them in.
PAGE = """
SELECT a.id, a.created_at, a.user_id, a.actor, a.action, a.workspace_id, w.name AS workspace_name, a.target, a.address,
  a.details
FROM audit_entries a LEFT JOIN workspaces w ON w.id = a.workspace_id
WHERE {conditions} ORDER BY a.id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. user_id: None on the command line. address: where the request came from."""

    name: str
    user_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit log."""

    id: int
    created_at: datetime
    user_id: str | None
    actor: str
    action: str
    workspace_id: str | None
    workspace_name: str | None
    target: str | None
    address: str | None
    details: Mapping[str, Any] = field(default_factory=dict)


def note(
    connection: Connection,
    actor: Actor,
    action: str,
    *,
    target: str | None = None,
    workspace_id: str | None = None,
    **details: Any,
) -> None:
    """Write down that somebody does something: a verb with its object, such as `endpoint.disable`.

    target: the id of what it is done to. details: what else a reader would ask; never a secret.
    """
    values = {
        "user_id": actor.user_id,
        "actor": actor.name,
        "action": action,
        "workspace": workspace_id,
        "target": target,
        "address": actor.address,
        "details": json.dumps(details),
    }
    connection.exec_driver_sql(ADD, values)


def entries(
    connection: Connection, *, workspace_id: str | None = None, before: int | None = None, limit: int
) -> list[Entry]:
    """Entries, newest first, at most `limit`, older than the id `before`; those of one workspace if it is named."""
    conditions = ["true"]
    if workspace_id is not None:
        conditions.append("a.workspace_id = %(workspace)s")
    if before is not None:
        conditions.append("a.id < %(before)s")
    statement = PAGE.format(conditions=" AND ".join(conditions))
    values = {"workspace": workspace_id, "before": before, "limit": limit}
    return [Entry(*row) for row in connection.exec_driver_sql(statement, values)]
