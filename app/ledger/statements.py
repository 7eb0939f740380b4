"""The ledger's statements: what it reads, locks and inserts, each for a whole group of requests at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from app.accounts.workspaces import absent
from app.core import ids
from app.core.event.acceptance import Accepted, EndpointFilter, NewEvent, StreamState, Subject
from app.core.problem import Problem


def _columns(subjects: Sequence[Subject]) -> dict[str, list[str]]:
    return {"w": [s[0] for s in subjects], "k": [s[1] for s in subjects], "x": [s[2] for s in subjects]}


def lock_streams(connection: Connection, subjects: Sequence[Subject]) -> dict[Subject, StreamState]:
    """Lock the streams that exist, in id order.

    Their workspace's row is locked along with them, and first: where somebody deletes it at this moment (or changes
    its uid), its streams are left out and not waited for, so that no other workspace's events wait for a deletion.
    """
    rows = connection.exec_driver_sql(
        "SELECT s.id, s.workspace_id, s.kind, s.external_id, s.last_seq, s.ended_at IS NOT NULL AS ended"
        " FROM unnest(%(w)s::text[], %(k)s::text[], %(x)s::text[]) AS u (w, k, x)"
        " JOIN streams s ON s.workspace_id = u.w AND s.kind = u.k AND s.external_id = u.x"
        " JOIN workspaces w ON w.id = s.workspace_id"
        # Rows are locked in the order of these clauses.
        " ORDER BY s.id FOR KEY SHARE OF w SKIP LOCKED FOR UPDATE OF s",
        _columns(subjects),
    )
    return {(row.workspace_id, row.kind, row.external_id): StreamState(row.id, row.last_seq, row.ended) for row in rows}


def lost_workspaces(connection: Connection, workspace_ids: Iterable[str]) -> dict[str, Problem]:
    """Keep workspaces from being deleted before this transaction ends; for those that cannot be kept, the answer."""
    ids = sorted(set(workspace_ids))
    kept = _workspaces(connection, ids, "FOR KEY SHARE SKIP LOCKED")
    lost = [id for id in ids if id not in kept]
    there = _workspaces(connection, lost) if lost else set()
    return {id: being_changed() if id in there else absent() for id in lost}


def being_changed() -> Problem:
    """The answer for a workspace that somebody is deleting (or giving another uid) at this moment."""
    text = "The workspace is being changed or deleted; repeat the request with the same idempotency key."
    return Problem("unavailable", text, retry_after_seconds=1)


def _workspaces(connection: Connection, ids: Sequence[str], locking: str = "") -> set[str]:
    query = f"SELECT id FROM workspaces WHERE id = ANY(%(ids)s) {locking}"
    return set(connection.exec_driver_sql(query, {"ids": list(ids)}).scalars())


def make_streams(connection: Connection, subjects: Sequence[Subject], max_open: int) -> set[Subject]:
    """Insert streams that do not exist, as far as each workspace's limit allows; those that it does not allow."""
    if not subjects:
        return set()
    open_streams = {
        row.workspace_id: row.open
        for row in connection.exec_driver_sql(
            "SELECT workspace_id, count(*) AS open FROM streams"
            " WHERE workspace_id = ANY(%(w)s) AND ended_at IS NULL GROUP BY workspace_id",
            {"w": sorted({subject[0] for subject in subjects})},
        )
    }
    allowed: list[Subject] = []
    for subject in subjects:
        count = open_streams.get(subject[0], 0)
        if count < max_open:
            open_streams[subject[0]] = count + 1
            allowed.append(subject)
    if allowed:
        connection.exec_driver_sql(
            "INSERT INTO streams (workspace_id, kind, external_id, created_at)"
            " SELECT w, k, x, date_trunc('milliseconds', clock_timestamp())"
            " FROM unnest(%(w)s::text[], %(k)s::text[], %(x)s::text[]) AS u (w, k, x) ORDER BY w, k, x"
            " ON CONFLICT DO NOTHING",
            _columns(allowed),
        )
    return set(subjects) - set(allowed)


def known_keys(connection: Connection, keys: Sequence[tuple[int, str | None]]) -> dict[tuple[int, str], Accepted]:
    """The events that took these idempotency keys (row id of the stream, key)."""
    rows = connection.exec_driver_sql(
        "SELECT k.stream_id, k.key, e.id, e.seq, s.kind, s.external_id, e.type, e.occurred_at, e.created_at"
        " FROM unnest(%(s)s::bigint[], %(k)s::text[]) AS u (s, k)"
        " JOIN event_keys k ON k.stream_id = u.s AND k.key = u.k"
        " JOIN events e ON e.id = k.event_id AND e.created_at = k.created_at"
        " JOIN streams s ON s.id = k.stream_id",
        {"s": [stream for stream, _ in keys], "k": [key for _, key in keys]},
    )
    return {
        (row.stream_id, row.key): Accepted(
            row.id, row.seq, row.kind, row.external_id, row.type, row.occurred_at, row.created_at, True
        )
        for row in rows
    }


def targets(connection: Connection, workspace_ids: Sequence[str]) -> list[EndpointFilter]:
    """The enabled endpoints of these workspaces."""
    rows = connection.exec_driver_sql(
        "SELECT id, workspace_id, event_types, stream_kinds FROM endpoints"
        " WHERE workspace_id = ANY(%(w)s) AND status = 'enabled' ORDER BY id",
        {"w": list(workspace_ids)},
    )
    return [EndpointFilter(row.id, row.workspace_id, row.event_types, row.stream_kinds) for row in rows]


def insert_events(connection: Connection, events: Sequence[NewEvent], now: datetime) -> None:
    """Add the events' rows."""
    connection.exec_driver_sql(
        "INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body)"
        " SELECT i, %(now)s, w, s, q, t, o, b FROM unnest(%(i)s::text[], %(w)s::text[], %(s)s::bigint[],"
        " %(q)s::bigint[], %(t)s::text[], %(o)s::timestamptz[], %(b)s::bytea[]) AS u (i, w, s, q, t, o, b)",
        {
            "now": now,
            "i": [new.event.id for new in events],
            "w": [new.workspace_id for new in events],
            "s": [new.stream for new in events],
            "q": [new.event.seq for new in events],
            "t": [new.event.type for new in events],
            "o": [new.occurred_at for new in events],
            "b": [new.event.body for new in events],
        },
    )


def insert_keys(connection: Connection, events: Sequence[NewEvent], now: datetime) -> None:
    """Remember which event took an idempotency key."""
    if events:
        connection.exec_driver_sql(
            "INSERT INTO event_keys (stream_id, key, event_id, created_at)"
            " SELECT s, k, i, %(now)s FROM unnest(%(s)s::bigint[], %(k)s::text[], %(i)s::text[]) AS u (s, k, i)"
            # A key whose event retention has dropped is free again.
            " ON CONFLICT (stream_id, key)"
            " DO UPDATE SET event_id = excluded.event_id, created_at = excluded.created_at",
            {
                "now": now,
                "s": [new.stream for new in events],
                "k": [new.key for new in events],
                "i": [new.event.id for new in events],
            },
        )


def update_streams(connection: Connection, streams: Sequence[StreamState], now: datetime) -> None:
    """Write back how far the streams have come, and which have ended."""
    connection.exec_driver_sql(
        "UPDATE streams SET last_seq = u.q, ended_at = CASE WHEN u.e THEN %(now)s::timestamptz END"
        " FROM unnest(%(s)s::bigint[], %(q)s::bigint[], %(e)s::boolean[]) AS u (s, q, e) WHERE id = u.s",
        {
            "now": now,
            "s": [stream.id for stream in streams],
            "q": [stream.last_seq for stream in streams],
            "e": [stream.ended for stream in streams],
        },
    )


def insert_deliveries(
    connection: Connection, pairs: Sequence[tuple[NewEvent, str]], now: datetime, deadline_at: datetime
) -> None:
    """Add a delivery for each pair of an event and an endpoint's id."""
    connection.exec_driver_sql(
        "INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type,"
        " trigger, due_at, window_started_at, deadline_at)"
        " SELECT i, %(now)s, w, p, v, %(now)s, t, g, %(now)s, %(now)s, %(deadline)s"
        " FROM unnest(%(i)s::text[], %(w)s::text[], %(p)s::text[], %(v)s::text[], %(t)s::text[], %(g)s::text[])"
        " AS u (i, w, p, v, t, g)",
        {
            "now": now,
            "deadline": deadline_at,
            "i": [ids.make(ids.DELIVERY, now, os.urandom(ids.RANDOM_BYTES)) for _ in pairs],
            "w": [new.workspace_id for new, _ in pairs],
            "p": [endpoint_id for _, endpoint_id in pairs],
            "v": [new.event.id for new, _ in pairs],
            "t": [new.event.type for new, _ in pairs],
            "g": ["test" if new.only_endpoint_id else "schedule" for new, _ in pairs],
        },
    )
