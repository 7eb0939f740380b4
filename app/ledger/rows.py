"""What the ledger reads and writes of streams, one at a time. (Groups of events go through group.py.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from app.core.event.acceptance import StreamState, Subject
from app.ledger import statements

LOCK_SECONDS = 1.0  # a group holds its locks for tens of milliseconds: who waits longer waits for something stuck


def limit_lock_waits(connection: Connection, seconds: float = LOCK_SECONDS) -> None:
    """From now on this transaction waits no longer for a lock: then it fails (faults.is_lock_timeout)."""
    connection.exec_driver_sql(statements.LIMIT_LOCKS, {"lock_timeout": _timeout(seconds)})


def make_streams(connection: Connection, subjects: Sequence[Subject], max_open: int) -> set[Subject]:
    """Make streams that do not exist, as far as each workspace's limit allows; those that it does not allow."""
    if not subjects:
        return set()
    workspace_ids = sorted({workspace_id for workspace_id, _, _ in subjects})
    counts = connection.exec_driver_sql(statements.COUNT_OPEN_STREAMS, {"workspaces": workspace_ids})
    open_streams = {row.workspace_id: row.open for row in counts}
    allowed: list[Subject] = []
    for subject in subjects:
        count = open_streams.get(subject[0], 0)
        if count < max_open:
            open_streams[subject[0]] = count + 1
            allowed.append(subject)
    if allowed:
        connection.exec_driver_sql(statements.INSERT_STREAMS, _columns(allowed))
    return set(subjects) - set(allowed)


def end_stream(connection: Connection, subject: Subject) -> StreamState | None:
    """End a stream, as it is then; one that has ended stays as it is. None when there is no such stream."""
    workspace_id, kind, external_id = subject
    row = connection.exec_driver_sql(
        statements.LOCK_STREAM, {"workspace": workspace_id, "kind": kind, "id": external_id}
    ).one_or_none()
    if row is None:
        return None
    if row.ended_at is None:
        connection.exec_driver_sql(statements.END_STREAM, {"stream": row.id})
    return StreamState(row.id, row.last_seq, True)


def _timeout(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"


def _columns(subjects: Sequence[Subject]) -> dict[str, Any]:
    """Subjects as the arrays that unnest takes."""
    return {
        "workspaces": [workspace_id for workspace_id, _, _ in subjects],
        "kinds": [kind for _, kind, _ in subjects],
        "ids": [external_id for _, _, external_id in subjects],
    }
