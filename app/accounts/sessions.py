"""Sessions of people: a row for each, which its signed cookie names, so that signing out ends it.

The database's clock decides when one begins and ends. The key that signed in is looked up with the row: revoking it
ends its sessions at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from app.accounts.callers import Caller
from app.core import ids, sealing
from app.settings import Settings

LIFE_SECONDS = 12 * 3600  # a working day; then the person signs in again
_PURPOSE = "signing sessions"

# The time that a new session begins at, to the millisecond as its id holds it.
NOW = "SELECT date_trunc('milliseconds', now())"

# A new session of a key.
BEGIN = """
INSERT INTO sessions (id, key_id, workspace_id, created_at, expires_at)
VALUES (%(id)s, %(key_id)s, %(workspace_id)s, %(now)s, %(now)s::timestamptz + make_interval(secs => %(life)s))
RETURNING id, expires_at
"""

# A session that goes on, with its key as it is now.
READ = """
SELECT s.workspace_id, extract(epoch FROM s.expires_at - now())::float8 AS life_seconds,
  k.id, k.workspace_id AS key_workspace_id, k.scopes
FROM sessions s JOIN api_keys k ON k.id = s.key_id
WHERE s.id = %(id)s AND s.revoked_at IS NULL AND s.expires_at > now() AND k.revoked_at IS NULL
"""

# The end of a session, before its time.
END = "UPDATE sessions SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that goes on. workspace_id: "" if it signed in for none. life_seconds: what is left of its time."""

    id: str
    caller: Caller
    workspace_id: str
    life_seconds: float


def signing_keys(settings: Settings) -> list[bytes]:
    """The keys that session cookies may be signed with, the present one first."""
    return [sealing.derive(material, _PURPOSE) for material in settings.secret_keys]


def begin(connection: Connection, key_id: str, workspace_id: str) -> tuple[str, datetime]:
    """A new session of this key: its id, and when it ends. workspace_id: "" for none."""
    now = connection.exec_driver_sql(NOW).scalar_one()
    id = ids.make(ids.SESSION, now, os.urandom(ids.RANDOM_BYTES))
    values = {"id": id, "key_id": key_id, "workspace_id": workspace_id or None, "now": now, "life": LIFE_SECONDS}
    row = connection.exec_driver_sql(BEGIN, values).one()
    return row.id, row.expires_at


def read(connection: Connection, session_id: str) -> SignedIn | None:
    """The session, unless it has ended or its key is revoked."""
    row = connection.exec_driver_sql(READ, {"id": session_id}).one_or_none()
    if row is None:
        return None
    caller = Caller(row.id, row.key_workspace_id, frozenset(row.scopes))
    return SignedIn(session_id, caller, row.workspace_id or "", row.life_seconds)


def end(connection: Connection, session_id: str) -> None:
    """End a session now. One that has ended stays ended."""
    connection.exec_driver_sql(END, {"id": session_id})
