"""A workspace's own event types: their rows, and the schemas that a process remembers to check events by.

What is remembered is as of a version of the workspace (workspaces.endpoints_version, which a change of its event types
counts up, too). accept_events compares that version, so no event is accepted or refused by a schema that was another
one when its PUT was answered.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contracts.bounded_schema import BoundedSchema, Steps
from app.core.problem import Complaint, Problem, not_found
from app.core.wire.envelope import rfc3339
from app.ledger.matching import MOST_WORKSPACES
from app.ledger.submission import Submission

WARN, REJECT = "warn", "reject"
MOST_TYPES = 200  # of one workspace: its schemas are kept in the memory of each web process
MOST_REMEMBERED_BYTES = 32 * 2**20  # of all workspaces' schemas in one process, as text

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


@dataclass(slots=True)
class _Remembered:
    """The schemas of one workspace, by type, as of a version; compiled when they are first used."""

    version: int
    texts: dict[str, tuple[str, str]]
    compiled: dict[str, BoundedSchema] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(len(text) for _, text in self.texts.values()) + 1

    def refuses(self, type: str, data: Any, steps: Steps) -> tuple[str, Complaint] | None:
        """What the schema of a type has against a payload, behind what becomes of the event then."""
        if type not in self.texts:
            return None
        check, text = self.texts[type]
        if type not in self.compiled:
            self.compiled[type] = BoundedSchema(json.loads(text))
        complaint = self.compiled[type].refuses(data, type, steps)
        return None if complaint is None else (check, complaint)


class RememberedTypes:
    """The schemas of workspaces' own types. One process's."""

    def __init__(self, on_warning: Callable[[], object] = lambda: None) -> None:
        """on_warning: called for each event that does not fit a schema that only warns."""
        self._on_warning = on_warning
        self._of: OrderedDict[str, _Remembered] = OrderedDict()
        self._bytes = 0

    def check(self, submissions: Sequence[Submission]) -> tuple[list[Submission], dict[str, int]]:
        """The submissions with what their workspaces' schemas have against their events, and as of which versions of
        those workspaces; one that is not among them is not remembered, and nothing has been checked."""
        known = {one.workspace_id: found for one in submissions if (found := self._of.get(one.workspace_id))}
        checked = [self._checked(one, known.get(one.workspace_id)) for one in submissions]
        return checked, {workspace_id: found.version for workspace_id, found in known.items()}

    def learn(self, versions: Mapping[str, int], schemas: str) -> None:
        """Remember what the database has answered, as JSON: [workspace id, type, check, schema] for each schema of
        workspaces, which have, or have had a moment before, these versions."""
        learned = {id: _Remembered(version, {}) for id, version in versions.items()}
        for workspace_id, type, check, schema in json.loads(schemas):
            if workspace_id in learned:
                learned[workspace_id].texts[type] = (check, schema)
        for workspace_id, one in learned.items():
            self._forget(workspace_id)
            self._of[workspace_id] = one
            self._bytes += one.size
        while self._bytes > MOST_REMEMBERED_BYTES or len(self._of) > MOST_WORKSPACES:
            oldest = next(iter(self._of))
            if oldest in learned:  # they are about to be used
                break
            self._forget(oldest)

    def _forget(self, workspace_id: str) -> None:
        if (former := self._of.pop(workspace_id, None)) is not None:
            self._bytes -= former.size

    def _checked(self, submission: Submission, remembered: _Remembered | None) -> Submission:
        if remembered is None or not remembered.texts:
            return submission
        refusals, steps = dict(submission.refusals), Steps()
        for index, draft in enumerate(submission.drafts):
            if index in refusals or (refused := remembered.refuses(draft.type, draft.value, steps)) is None:
                continue
            check, complaint = refused
            if check == REJECT:
                refusals[index] = complaint
            else:
                self._on_warning()
        return replace(submission, refusals=refusals)


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
