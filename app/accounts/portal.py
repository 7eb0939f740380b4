"""Links to the customer portal, and the sessions that they open.

A link stands for the key that made it, for one workspace and for no more than the key's own scopes. Its token is
random, stored as a hash, and opens one session, within minutes. The session is a row like those of other people: it
ends when it is revoked, when its link is revoked or goes, and when the key is revoked.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.accounts.keys import digest
from app.accounts.sessions import NOW
from app.core import ids
from app.core.problem import not_found

MANAGE, OPERATE, SUBSCRIBE = "manage", "operate", "subscribe"
# What a link may allow: endpoints, secrets and tests; the delivery log, retry and recover; watching streams live.
SCOPES = (MANAGE, OPERATE, SUBSCRIBE)
DEFAULT_SCOPES = (MANAGE, OPERATE)  # streams are for those whom the operator lets see them
PREFIX = "pt_"
LONGEST_TOKEN = 60

# Add a link.
ADD = """
INSERT INTO portal_links (id, workspace_id, key_id, token_hash, scopes, created_at, expires_at)
VALUES (%(id)s, %(workspace)s, %(key)s, %(hash)s, %(scopes)s::text[], %(now)s,
  %(now)s::timestamptz + make_interval(secs => %(life)s))
RETURNING expires_at
"""

# Whose portal a link opens that nobody has opened, while its key is good. It stays as it is.
LOOK_AT = """
SELECT w.id, w.name FROM portal_links l JOIN api_keys k ON k.id = l.key_id JOIN workspaces w ON w.id = l.workspace_id
WHERE l.token_hash = %(hash)s AND l.opened_at IS NULL AND l.revoked_at IS NULL AND l.expires_at > now()
  AND k.revoked_at IS NULL
"""

# Open a link that nobody has opened, while its key is good. Of two who try at once, one does.
OPEN = """
UPDATE portal_links l SET opened_at = now() FROM api_keys k
WHERE l.token_hash = %(hash)s AND l.opened_at IS NULL AND l.revoked_at IS NULL AND l.expires_at > now()
  AND k.id = l.key_id AND k.revoked_at IS NULL
RETURNING l.id, l.key_id, l.workspace_id
"""

# Begin the session of a link.
BEGIN = """
INSERT INTO sessions (id, key_id, workspace_id, portal_link_id, created_at, expires_at)
VALUES (%(id)s, %(key)s, %(workspace)s, %(link)s, %(now)s,
  %(now)s::timestamptz + make_interval(secs => %(life)s))
RETURNING expires_at
"""

# A session that goes on, with its link and its customer.
READ = """
SELECT s.id AS session_id, l.id AS link_id, l.key_id, l.workspace_id, w.name, l.scopes,
  extract(epoch FROM s.expires_at - now())::float8 AS life_seconds
FROM sessions s JOIN portal_links l ON l.id = s.portal_link_id JOIN api_keys k ON k.id = l.key_id
JOIN workspaces w ON w.id = l.workspace_id
WHERE s.id = %(id)s AND s.revoked_at IS NULL AND s.expires_at > now() AND l.revoked_at IS NULL
  AND k.revoked_at IS NULL
"""

# End a session now.
END = "UPDATE sessions SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s AND portal_link_id IS NOT NULL"

# A page of a workspace's links, newest first.
LIST = """
SELECT l.id, l.scopes, l.created_at, l.expires_at, l.opened_at FROM portal_links l
WHERE l.workspace_id = %(workspace)s AND l.revoked_at IS NULL AND (%(before)s::text IS NULL OR l.id < %(before)s)
ORDER BY l.id DESC LIMIT %(limit)s
"""

# Revoke a link, and end the session that it opened.
REVOKE = """
WITH revoked AS (
  UPDATE portal_links SET revoked_at = now()
  WHERE id = %(id)s AND workspace_id = %(workspace)s AND revoked_at IS NULL RETURNING id
), ended AS (
  UPDATE sessions SET revoked_at = now() FROM revoked
  WHERE sessions.portal_link_id = revoked.id AND sessions.revoked_at IS NULL
)
SELECT id FROM revoked
"""


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A new link. token: shown only now."""

    id: str
    token: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Guest:
    """A customer in the portal. name: the workspace's. life_seconds: what is left of the session's time."""

    session_id: str
    link_id: str
    key_id: str
    workspace_id: str
    name: str
    scopes: Sequence[str]
    life_seconds: float

    def may(self, scope: str) -> bool:
        """Whether the link allows this; "" is what every link allows."""
        return not scope or scope in self.scopes


def make_link(
    connection: Connection, *, workspace_id: str, key_id: str, scopes: Sequence[str], life_seconds: int
) -> MadeLink:
    """A new link to a workspace's portal, which may be opened within `life_seconds`."""
    now = connection.exec_driver_sql(NOW).scalar_one()
    id, token = ids.make(ids.PORTAL_LINK, now, os.urandom(ids.RANDOM_BYTES)), PREFIX + secrets.token_urlsafe(32)
    values = {
        "id": id,
        "workspace": workspace_id,
        "key": key_id,
        "hash": digest(token),
        "scopes": [scope for scope in SCOPES if scope in scopes],
        "now": now,
        "life": life_seconds,
    }
    return MadeLink(id, token, now, connection.exec_driver_sql(ADD, values).scalar_one())


def look_at_link(connection: Connection, token: str) -> Row[Any] | None:
    """The workspace, as id and name, whose portal the link with this token opens. None when the token opens nothing."""
    if not _may_be(token):
        return None
    return connection.exec_driver_sql(LOOK_AT, {"hash": digest(token)}).one_or_none()


def open_link(connection: Connection, token: str, *, life_seconds: int) -> tuple[str, datetime] | None:
    """Begin the session of the link with this token: its id, and when it ends. None when the token opens nothing."""
    if not _may_be(token):
        return None
    link = connection.exec_driver_sql(OPEN, {"hash": digest(token)}).one_or_none()
    if link is None:
        return None
    now = connection.exec_driver_sql(NOW).scalar_one()
    id = ids.make(ids.SESSION, now, os.urandom(ids.RANDOM_BYTES))
    values = {"id": id, "key": link.key_id, "workspace": link.workspace_id, "link": link.id}
    return id, connection.exec_driver_sql(BEGIN, {**values, "now": now, "life": life_seconds}).scalar_one()


def read_session(connection: Connection, session_id: str) -> Guest | None:
    """Who is in the portal by this session; None when it has ended."""
    row = connection.exec_driver_sql(READ, {"id": session_id}).one_or_none()
    return None if row is None else Guest(*row)


def end_session(connection: Connection, session_id: str) -> None:
    """End a session now. One that has ended stays ended."""
    connection.exec_driver_sql(END, {"id": session_id})


def list_links(connection: Connection, workspace_id: str, *, limit: int, before: str | None) -> Sequence[Row[Any]]:
    """Links that are not revoked, newest first, at most `limit`, older than the id `before`."""
    values = {"workspace": workspace_id, "limit": limit, "before": before}
    return connection.exec_driver_sql(LIST, values).all()


def revoke_link(connection: Connection, workspace_id: str, link_id: str) -> None:
    """Close a link, and the session that it has opened. Raises Problem not_found."""
    if connection.exec_driver_sql(REVOKE, {"id": link_id, "workspace": workspace_id}).scalar() is None:
        raise not_found("portal link")


def _may_be(token: str) -> bool:
    return token.startswith(PREFIX) and len(token) <= LONGEST_TOKEN
