"""Workspaces: the customers. Nothing crosses from one to another."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import ids
from app.core.problem import Problem, invalid
from app.core.wire.envelope import rfc3339
from app.database import patience
from app.database.connection import ANSWER_SECONDS
from app.database.partitions import partitions_in
from app.database.tables import Workspace

# A deletion may take long: the process's usual limit of 30 s is for requests that somebody waits for.
_DELETE_SECONDS = 600

# Let the statements of this transaction take that long, and wait that long for locks.
ALLOW_LONG_STATEMENTS = f"SET LOCAL statement_timeout = '{_DELETE_SECONDS}s'"
ALLOW_LONG_WAITS = f"SET LOCAL lock_timeout = '{_DELETE_SECONDS}s'"

# Delete a workspace, and by foreign keys its keys, streams, stream tokens and endpoints.
DELETE_WORKSPACE = "DELETE FROM workspaces WHERE id = %(workspace)s"

# Delete a workspace's attempts of one week. No index finds them by their workspace (every attempt would have to keep it
# up, for the sake of a rare deletion): the week is read through.
DELETE_ATTEMPTS = "DELETE FROM {partition} WHERE workspace_id = %(workspace)s"

# Delete a workspace's deliveries. (Partitioned tables have no foreign keys; see app.database.tables.)
DELETE_DELIVERIES = "DELETE FROM deliveries WHERE workspace_id = %(workspace)s"

# Delete what a workspace has pending.
DELETE_DUE = "DELETE FROM due WHERE workspace_id = %(workspace)s"

# Delete a workspace's events.
DELETE_EVENTS = "DELETE FROM events WHERE workspace_id = %(workspace)s"


def create_workspace(session: Session, *, uid: str | None, name: str) -> Workspace:
    """A new workspace; without a `uid` (the platform's own name for it) its id serves. Raises Problem conflict."""
    _check_uid(uid)
    row = _insert(session, uid, name)
    if row is None:
        raise _taken(uid)
    return row


def put_workspace(session: Session, reference: str, *, name: str) -> tuple[Workspace, bool]:
    """Give the workspace with this uid a name; whether it is new. Raises Problem not_found for an id of ours that none
    has."""
    is_id = reference.startswith(f"{ids.WORKSPACE}_")
    row = None if is_id else _insert(session, reference, name)
    if row is not None:
        return row, True
    known = get_workspace(session, reference)
    known.name = name
    session.flush()
    return known, False


def _insert(session: Session, uid: str | None, name: str) -> Workspace | None:
    """A new workspace; None when its uid is taken. Who has taken it has committed by then."""
    now = ids.truncate(datetime.now(UTC))
    id = ids.make(ids.WORKSPACE, now, os.urandom(ids.RANDOM_BYTES))
    return session.scalars(
        insert(Workspace)
        .values(id=id, uid=uid or id, name=name, created_at=now)
        .on_conflict_do_nothing(index_elements=[Workspace.uid])
        .returning(Workspace)
    ).one_or_none()


def change_workspace(session: Session, row: Workspace, *, uid: str | None, name: str | None) -> None:
    """Give a workspace another uid or name; None leaves it. Raises Problem conflict for a uid that is taken."""
    if uid is not None and uid not in (row.id, row.uid):
        _check_uid(uid)
        if find_workspace(session, uid) is not None:
            raise _taken(uid)
    row.uid, row.name = uid or row.uid, name or row.name
    session.flush()


def find_workspace(session: Session, reference: str) -> Workspace | None:
    """The workspace with this id or uid."""
    return session.scalars(
        select(Workspace).where(or_(Workspace.id == reference, Workspace.uid == reference))
    ).one_or_none()


def get_workspace(session: Session, reference: str) -> Workspace:
    """The workspace with this id or uid. Raises Problem not_found."""
    row = find_workspace(session, reference)
    if row is None:
        raise absent()
    return row


def absent() -> Problem:
    """The answer for a workspace that is not there, or not the caller's."""
    return Problem("not_found", "There is no such workspace.")


def being_changed() -> Problem:
    """The answer for a workspace that somebody is deleting (or giving another uid) at this moment."""
    text = "The workspace is being changed or deleted; repeat the request with the same idempotency key."
    return Problem("unavailable", text, retry_after_seconds=1)


def list_workspaces(session: Session, *, limit: int, before: str | None) -> list[Workspace]:
    """Workspaces, newest first, at most `limit`, older than the id `before`."""
    query = select(Workspace).order_by(Workspace.id.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(Workspace.id < before)))


def delete_workspace(session: Session, workspace_id: str) -> None:
    """Delete a workspace and everything in it; its keys stop working when this commits.

    The order matters: deleting the row deletes its streams, and so waits for (and then stops) whoever is adding events
    to them. What is deleted afterwards cannot grow any more. Likewise deliveries go before attempts, which are recorded
    only under the lock of their delivery.
    """
    connection = session.connection()
    # The statement's own answer takes a moment, too.
    with patience.allowing(_DELETE_SECONDS + ANSWER_SECONDS):
        for statement in (ALLOW_LONG_STATEMENTS, ALLOW_LONG_WAITS):
            connection.exec_driver_sql(statement)
        attempts = [DELETE_ATTEMPTS.format(partition=name) for name in partitions_in(connection, "attempts")]
        for statement in (DELETE_WORKSPACE, DELETE_DELIVERIES, DELETE_DUE, *attempts, DELETE_EVENTS):
            connection.exec_driver_sql(statement, {"workspace": workspace_id})


def shown(row: Workspace) -> dict[str, Any]:
    """A workspace as the API answers it."""
    return {"id": row.id, "uid": row.uid, "name": row.name, "created_at": rfc3339(row.created_at)}


def _check_uid(uid: str | None) -> None:
    if uid is not None and uid.startswith(f"{ids.WORKSPACE}_"):
        raise invalid("uid", f"must not start with {ids.WORKSPACE}_, the prefix of our own ids")


def _taken(uid: str | None) -> Problem:
    return Problem("conflict", f"A workspace with the uid {uid} exists already; read it at /v1/workspaces/{uid}.")
