"""What the ledger reads, locks and inserts, each for a whole group of requests at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from app.accounts.workspaces import absent
from app.core import ids
from app.core.event.acceptance import Accepted, EndpointFilter, NewEvent, StreamState, Subject
from app.core.problem import Problem
from app.ledger import statements

LOCK_SECONDS = 1.0  # a group holds its locks for tens of milliseconds: who waits longer waits for something stuck


def limit_lock_waits(connection: Connection, seconds: float = LOCK_SECONDS) -> None:
    """From now on this transaction waits no longer for a lock: then it fails (faults.is_lock_timeout)."""
    connection.exec_driver_sql(statements.LIMIT_LOCKS, {"lock_timeout": _timeout(seconds)})


def lock_streams(
    connection: Connection, subjects: Sequence[Subject], *, lock_seconds: float, skip: bool
) -> dict[Subject, StreamState]:
    """Lock the streams that exist, in id order, and wait for locks no longer than `lock_seconds` from now on.

    skip: leave out those that somebody else holds, rather than wait for them.
    The streams of a workspace that is being deleted at this moment (or given another uid) are left out and not waited
    for, so that no other workspace's events wait for a deletion.
    """
    statement = statements.LOCK_FREE_STREAMS if skip else statements.LOCK_STREAMS
    rows = connection.exec_driver_sql(statement, _columns(subjects) | {"lock_timeout": _timeout(lock_seconds)})
    return {(row.workspace_id, row.kind, row.external_id): StreamState(row.id, row.last_seq, row.ended) for row in rows}


def existing_streams(connection: Connection, subjects: Sequence[Subject]) -> set[Subject]:
    """Which of these streams exist, whoever holds them."""
    rows = connection.exec_driver_sql(statements.EXISTING_STREAMS, _columns(subjects))
    return {(row.workspace_id, row.kind, row.external_id) for row in rows}


def hold_workspaces(connection: Connection, workspace_ids: Iterable[str]) -> dict[str, Problem]:
    """Keep workspaces from being deleted before this transaction ends; the answer for each that cannot be kept."""
    wanted = sorted(set(workspace_ids))
    held = _ids(connection, statements.HOLD_WORKSPACES, wanted)
    lost = [id for id in wanted if id not in held]
    existing = _ids(connection, statements.EXISTING_WORKSPACES, lost) if lost else set()
    return {id: being_changed() if id in existing else absent() for id in lost}


def being_changed() -> Problem:
    """The answer for a workspace that somebody is deleting (or giving another uid) at this moment."""
    text = "The workspace is being changed or deleted; repeat the request with the same idempotency key."
    return Problem("unavailable", text, retry_after_seconds=1)


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


def current_time(connection: Connection) -> datetime:
    """The database's time, in milliseconds."""
    moment: datetime = connection.exec_driver_sql(statements.NOW).scalar_one()
    return moment


def known_keys(connection: Connection, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Accepted]:
    """The events that took these idempotency keys (row id of the stream, key)."""
    rows = connection.exec_driver_sql(
        statements.EVENTS_OF_KEYS, {"streams": [stream for stream, _ in keys], "keys": [key for _, key in keys]}
    )
    return {
        (row.stream_id, row.key): Accepted(
            row.id, row.seq, row.kind, row.external_id, row.type, row.occurred_at, row.created_at, True
        )
        for row in rows
    }


def endpoint_filters(connection: Connection, workspace_ids: Sequence[str]) -> list[EndpointFilter]:
    """What the enabled endpoints of these workspaces want."""
    rows = connection.exec_driver_sql(statements.ENDPOINT_FILTERS, {"workspaces": list(workspace_ids)})
    return [EndpointFilter(row.id, row.workspace_id, row.event_types, row.stream_kinds) for row in rows]


def insert_events(connection: Connection, events: Sequence[NewEvent], now: datetime) -> None:
    """Add the events' rows."""
    connection.exec_driver_sql(
        statements.INSERT_EVENTS,
        {
            "now": now,
            "ids": [new.event.id for new in events],
            "workspaces": [new.workspace_id for new in events],
            "streams": [new.stream for new in events],
            "seqs": [new.event.seq for new in events],
            "types": [new.event.type for new in events],
            "times": [new.occurred_at for new in events],
            "bodies": [new.event.body for new in events],
        },
    )


def insert_keys(connection: Connection, events: Sequence[NewEvent], now: datetime) -> None:
    """Remember which of these events took an idempotency key."""
    keyed = [new for new in events if new.key is not None]
    if keyed:
        connection.exec_driver_sql(
            statements.INSERT_KEYS,
            {
                "now": now,
                "streams": [new.stream for new in keyed],
                "keys": [new.key for new in keyed],
                "events": [new.event.id for new in keyed],
            },
        )


def update_streams(connection: Connection, streams: Sequence[StreamState], now: datetime) -> None:
    """Write back how far the streams have come, and which have ended."""
    connection.exec_driver_sql(
        statements.UPDATE_STREAMS,
        {
            "now": now,
            "streams": [stream.id for stream in streams],
            "seqs": [stream.last_seq for stream in streams],
            "ended": [stream.ended for stream in streams],
        },
    )


def insert_deliveries(
    connection: Connection, pairs: Sequence[tuple[NewEvent, str]], now: datetime, deadline_at: datetime
) -> None:
    """Add a delivery for each pair of an event and an endpoint's id."""
    connection.exec_driver_sql(
        statements.INSERT_DELIVERIES,
        {
            "now": now,
            "deadline": deadline_at,
            "ids": [ids.make(ids.DELIVERY, now, os.urandom(ids.RANDOM_BYTES)) for _ in pairs],
            "workspaces": [new.workspace_id for new, _ in pairs],
            "endpoints": [endpoint_id for _, endpoint_id in pairs],
            "events": [new.event.id for new, _ in pairs],
            "types": [new.event.type for new, _ in pairs],
            "triggers": ["test" if new.only_endpoint_id else "schedule" for new, _ in pairs],
        },
    )


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


def _ids(connection: Connection, statement: str, wanted: Sequence[str]) -> set[str]:
    return set(connection.exec_driver_sql(statement, {"ids": list(wanted)}).scalars())


def _timeout(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"


def _columns(subjects: Sequence[Subject]) -> dict[str, Any]:
    """Subjects as the arrays that unnest takes."""
    return {
        "workspaces": [workspace_id for workspace_id, _, _ in subjects],
        "kinds": [kind for _, kind, _ in subjects],
        "ids": [external_id for _, _, external_id in subjects],
    }
