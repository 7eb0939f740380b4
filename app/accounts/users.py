"""Users: people who sign in to the console by name and password, and what they may do there.

An operator sees every workspace and may act; a viewer sees the same and changes nothing. Their sessions are rows like
those of keys, which the database's clock ends, and which end at once when they are revoked or the user is disabled.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.accounts.sessions import LIFE_SECONDS, NOW
from app.core import ids
from app.core.problem import Problem, invalid

OPERATOR, VIEWER = "operator", "viewer"
ROLES = (OPERATOR, VIEWER)
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_MOST = 500  # that a list shows: an organisation's operators, not its customers

# Add a user, unless the name is taken.
ADD = """
INSERT INTO users (id, name, role, password_hash, created_at)
VALUES (%(id)s, %(name)s, %(role)s, %(hash)s, %(now)s) ON CONFLICT (name) DO NOTHING RETURNING id
"""

# A user by name, also one who is disabled.
BY_NAME = "SELECT id, name, role, created_at, disabled_at, password_hash FROM users WHERE name = %(name)s"

_WITH_SESSIONS = """
SELECT u.id, u.name, u.role, u.created_at, u.disabled_at,
  (SELECT count(*) FROM sessions s WHERE s.user_id = u.id AND s.revoked_at IS NULL AND s.expires_at > now())
FROM users u
"""

# All users, with how many sessions each has that go on.
LIST = f"{_WITH_SESSIONS} ORDER BY u.name LIMIT {_MOST}"

# A user by id or name, with how many sessions go on. An id is ours to give: it wins over a name that looks like it.
BY_REFERENCE = f"""
{_WITH_SESSIONS} WHERE u.id = %(reference)s OR u.name = %(reference)s ORDER BY u.id = %(reference)s DESC LIMIT 1
"""

# Change what is given of a user.
CHANGE = """
UPDATE users SET role = coalesce(%(role)s, role), password_hash = coalesce(%(hash)s, password_hash),
  disabled_at = CASE %(disabled)s::boolean WHEN true THEN coalesce(disabled_at, now()) WHEN false THEN NULL
    ELSE disabled_at END
WHERE id = %(id)s
"""

# Begin a session of a user.
BEGIN = """
INSERT INTO sessions (id, user_id, created_at, expires_at)
VALUES (%(id)s, %(user)s, %(now)s, %(now)s::timestamptz + make_interval(secs => %(life)s)) RETURNING expires_at
"""

# A session that goes on, with its user as they are now.
READ = """
SELECT s.id AS session_id, u.id, u.name, u.role, extract(epoch FROM s.expires_at - now())::float8 AS life_seconds
FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.id = %(id)s AND s.revoked_at IS NULL AND s.expires_at > now() AND u.disabled_at IS NULL
"""

# End the sessions of a user that go on, but for one.
END_OTHERS = """
UPDATE sessions SET revoked_at = now()
WHERE user_id = %(user)s AND revoked_at IS NULL AND id IS DISTINCT FROM %(but)s
"""

# End one session of a user.
END_ONE = """
UPDATE sessions SET revoked_at = now() WHERE id = %(id)s AND user_id = %(user)s AND revoked_at IS NULL RETURNING id
"""

# The sessions that go on, of all users, newest first.
SESSIONS = f"""
SELECT s.id, s.user_id, u.name AS user_name, s.created_at, s.expires_at FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.revoked_at IS NULL AND s.expires_at > now() ORDER BY s.created_at DESC, s.id LIMIT {_MOST}
"""


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user. sessions: how many go on."""

    id: str
    name: str
    role: str
    created_at: datetime
    disabled_at: datetime | None
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """A user whose session goes on. life_seconds: what is left of its time."""

    session_id: str
    id: str
    name: str
    role: str
    life_seconds: float

    @property
    def may_act(self) -> bool:
        """Whether this user may change anything."""
        return self.role == OPERATOR


def proper_name(text: str) -> str:
    """A user's name as it is stored: without blanks around it and in lower case. Raises Problem invalid."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise invalid("name", "must have 1 to 100 characters of a-z, 0-9, . _ @ + - and begin with a letter or digit")
    return name


def create_user(connection: Connection, *, name: str, role: str, password_hash: str) -> UserRow:
    """A new user. Raises Problem: invalid, or conflict for a name that is taken."""
    name = proper_name(name)
    _check_role(role)
    now = connection.exec_driver_sql(NOW).scalar_one()
    id = ids.make(ids.USER, now, os.urandom(ids.RANDOM_BYTES))
    values = {"id": id, "name": name, "role": role, "hash": password_hash, "now": now}
    if connection.exec_driver_sql(ADD, values).scalar() is None:
        raise Problem("conflict", f"There is a user {name} already.")
    return UserRow(id, name, role, now, None)


def find_user(connection: Connection, name: str) -> tuple[UserRow, str] | None:
    """The user with this name, and what is kept of their password; None when there is none."""
    row = connection.exec_driver_sql(BY_NAME, {"name": name.strip().lower()}).one_or_none()
    return None if row is None else (_user(row[:5]), row.password_hash)


def get_user(connection: Connection, name: str) -> UserRow:
    """The user with this name. Raises Problem not_found."""
    found = find_user(connection, name)
    if found is None:
        raise _absent(name)
    return found[0]


def read_user(connection: Connection, reference: str) -> UserRow:
    """The user with this id or name, with how many of their sessions go on. Raises Problem not_found."""
    row = connection.exec_driver_sql(BY_REFERENCE, {"reference": reference.strip().lower()}).one_or_none()
    if row is None:
        raise _absent(reference)
    return _user(row)


def list_users(connection: Connection) -> list[UserRow]:
    """All users by name, with how many sessions of each go on."""
    return [_user(row) for row in connection.exec_driver_sql(LIST)]


def change_user(
    connection: Connection,
    user: UserRow,
    *,
    role: str | None = None,
    password_hash: str | None = None,
    disabled: bool | None = None,
) -> None:
    """Change what is given. A new password, a new role and being disabled end the user's sessions. Raises Problem."""
    if role is not None:
        _check_role(role)
    connection.exec_driver_sql(CHANGE, {"id": user.id, "role": role, "hash": password_hash, "disabled": disabled})
    if disabled is not False:
        end_sessions(connection, user.id)


def begin_session(connection: Connection, user_id: str) -> tuple[str, datetime]:
    """A new session of this user: its id, and when it ends."""
    now = connection.exec_driver_sql(NOW).scalar_one()
    id = ids.make(ids.SESSION, now, os.urandom(ids.RANDOM_BYTES))
    values = {"id": id, "user": user_id, "now": now, "life": LIFE_SECONDS}
    return id, connection.exec_driver_sql(BEGIN, values).scalar_one()


def read_session(connection: Connection, session_id: str) -> SignedInUser | None:
    """The session's user, unless the session has ended or the user is disabled."""
    row = connection.exec_driver_sql(READ, {"id": session_id}).one_or_none()
    return None if row is None else SignedInUser(*row)


def list_sessions(connection: Connection) -> list[Row[Any]]:
    """The sessions that go on: id, user_id, user_name, created_at, expires_at."""
    return list(connection.exec_driver_sql(SESSIONS))


def end_session(connection: Connection, user_id: str, session_id: str) -> bool:
    """End one session of a user; whether it went on."""
    return connection.exec_driver_sql(END_ONE, {"id": session_id, "user": user_id}).scalar() is not None


def end_sessions(connection: Connection, user_id: str, *, but: str | None = None) -> None:
    """End all sessions of a user, but for one."""
    connection.exec_driver_sql(END_OTHERS, {"user": user_id, "but": but})


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise invalid("role", f"must be one of {', '.join(ROLES)}")


def _absent(reference: str) -> Problem:
    return Problem("not_found", f"There is no user {reference}.")


def _user(row: Any) -> UserRow:
    return UserRow(*row)
