"""A workspace's own event types: their rows. Events are checked by them in remembered_types.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.core.problem import Problem, not_found
from app.core.wire.envelope import rfc3339

WARN, REJECT = "warn", "reject"
MOST_TYPES = 200  # of one workspace: its schemas are kept in the memory of each web process

# A workspace's own types, by name.
LIST = "SELECT * FROM event_types WHERE workspace_id = %(workspace)s ORDER BY type"

# One of them.
GET = "SELECT * FROM event_types WHERE workspace_id = %(workspace)s AND type = %(type)s"

# Hold the workspace, so that two who add a type count one after the other, and nobody deletes it meanwhile.
LOCK_WORKSPACE = "SELECT 1 FROM workspaces WHERE id = %(workspace)s FOR NO KEY UPDATE"

# How many own types a workspace has besides this one.
COUNT_OTHERS = "SELECT count(*) FROM event_types WHERE workspace_id = %(workspace)s AND type <> %(type)s"

# Make or replace a type. made: whether it is new.
PUT = """
INSERT INTO event_types (workspace_id, type, description, schema, example, "check", deprecated, created_at, updated_at)
VALUES (%(workspace)s, %(type)s, %(description)s, %(schema)s, %(example)s, %(check)s, %(deprecated)s,
  date_trunc('milliseconds', now()), date_trunc('milliseconds', now()))
ON CONFLICT (workspace_id, type) DO UPDATE SET description = excluded.description, schema = excluded.schema,
  example = excluded.example, "check" = excluded."check", deprecated = excluded.deprecated,
  updated_at = excluded.updated_at
RETURNING *, created_at = updated_at AND xmax = 0 AS made
"""

# Forget a type.
DELETE = "DELETE FROM event_types WHERE workspace_id = %(workspace)s AND type = %(type)s"


@dataclass(frozen=True, slots=True)
class OwnType:
    """A type that a workspace has declared. schema, example: JSON objects, None for none. check: WARN or REJECT."""

    type: str
    description: str
    schema: Mapping[str, Any] | None
    example: Mapping[str, Any] | None
    check: str
    deprecated: bool
    created_at: datetime
    updated_at: datetime

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "type": self.type,
            "source": "workspace",
            "kind": None,
            "description": self.description,
            "schema": self.schema,
            "example": self.example,
            "check": self.check,
            "deprecated": self.deprecated,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
        }


def put_type(session: Session, workspace_id: str, type: str, wanted: Mapping[str, Any]) -> tuple[OwnType, bool]:
    """Declare a type anew: what `wanted` does not name is as for a new one. Whether it is new.

    wanted: description, schema, example, check, deprecated, which have been checked. Raises Problem too_many.
    """
    connection = session.connection()
    key = {"workspace": workspace_id, "type": type}
    if connection.exec_driver_sql(LOCK_WORKSPACE, key).scalar() is None:
        raise not_found("workspace")
    if connection.exec_driver_sql(COUNT_OTHERS, key).scalar_one() >= MOST_TYPES:
        raise Problem("too_many", f"The workspace has {MOST_TYPES} event types of its own, the most it may have.")
    values = {
        **key,
        "description": wanted.get("description", ""),
        "schema": _text(wanted.get("schema")),
        "example": _text(wanted.get("example")),
        "check": wanted.get("check", WARN),
        "deprecated": wanted.get("deprecated", False),
    }
    row = connection.exec_driver_sql(PUT, values).one()
    return _own(row), bool(row.made)


def list_types(session: Session, workspace_id: str) -> list[OwnType]:
    """All own types of a workspace, by name; at most MOST_TYPES."""
    return [_own(row) for row in session.connection().exec_driver_sql(LIST, {"workspace": workspace_id})]


def find_type(session: Session, workspace_id: str, type: str) -> OwnType | None:
    """One own type, None when the workspace has declared none of this name."""
    row = session.connection().exec_driver_sql(GET, {"workspace": workspace_id, "type": type}).one_or_none()
    return None if row is None else _own(row)


def delete_type(session: Session, workspace_id: str, type: str) -> None:
    """Forget an own type. Raises Problem not_found."""
    connection = session.connection()
    key = {"workspace": workspace_id, "type": type}
    # As all who change what is remembered of a workspace: its row first, which is written with the commit.
    connection.exec_driver_sql(LOCK_WORKSPACE, key)
    if connection.exec_driver_sql(DELETE, key).rowcount == 0:
        raise not_found("event type")


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _own(row: Row[Any]) -> OwnType:
    return OwnType(
        row.type,
        row.description,
        None if row.schema is None else json.loads(row.schema),
        None if row.example is None else json.loads(row.example),
        row.check,
        row.deprecated,
        row.created_at,
        row.updated_at,
    )
