"""Tokens of the feed: short-lived credentials for some streams, or kinds of streams, of a workspace, to watch live.

What a token opens stands in its row, not in its text: the text stays short, however many streams there are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from app.core import ids, tokens
from app.core.feed.wanted import Wanted, read_wanted
from app.core.problem import Problem, not_found
from app.database.connection import Database
from app.database.partitions import database_time
from app.live.tokens import signing_keys
from app.settings import Settings

# Of one workspace: 33 a second, with the five minutes that one lives unless it is set otherwise.
MOST_TOKENS = 10_000
SWEPT_AT_ONCE = 100

# Keep a new token.
INSERT = """
INSERT INTO feed_tokens (id, workspace_id, key_id, streams, kinds, created_at, expires_at)
VALUES (%(id)s, %(workspace)s, %(key)s, %(streams)s::text[], %(kinds)s::text[], %(now)s, %(expires)s)
"""

# How many a workspace has, with those that have ended and are still here.
COUNT = "SELECT count(*) FROM feed_tokens WHERE workspace_id = %(workspace)s"

# Forget those that have ended or were revoked, among the oldest of a workspace: they make room for the next.
SWEEP = f"""
DELETE FROM feed_tokens
 WHERE id = ANY (ARRAY(
       SELECT t.id
         FROM (SELECT id
                 FROM feed_tokens
                WHERE workspace_id = %(workspace)s
                ORDER BY id
                LIMIT {SWEPT_AT_ONCE}) AS oldest
         JOIN feed_tokens t ON t.id = oldest.id
        WHERE t.expires_at <= now() OR t.revoked_at IS NOT NULL
          FOR UPDATE OF t SKIP LOCKED))
"""

# A token that may be used: neither it nor the key that made it is revoked.
USABLE = """
SELECT t.id, t.workspace_id, t.key_id, t.streams, t.kinds, t.expires_at,
       extract(epoch FROM t.expires_at - now())::float8 AS life_seconds
  FROM feed_tokens t
  JOIN api_keys k ON k.id = t.key_id
 WHERE t.id = %(id)s
   AND t.revoked_at IS NULL
   AND t.expires_at > now()
   AND k.revoked_at IS NULL
"""

# The tokens of a workspace that are neither expired nor revoked, newest first, those behind an id.
LIST = """
SELECT id, key_id, streams, kinds, created_at, expires_at
  FROM feed_tokens
 WHERE workspace_id = %(workspace)s
   AND revoked_at IS NULL
   AND expires_at > now()
   AND (%(before)s::text IS NULL OR id < %(before)s)
 ORDER BY id DESC
 LIMIT %(limit)s
"""

# Refuse a token from now on. One that was revoked before stays so.
REVOKE = """
UPDATE feed_tokens
   SET revoked_at = coalesce(revoked_at, now())
 WHERE id = %(id)s
   AND workspace_id = %(workspace)s
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Made:
    """A new token. text: what opens the feed."""

    id: str
    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class FeedToken:
    """A token that may be used. allowed: what it opens; streams, kinds: the same as they were named, None for all.
    life_seconds: what is left of its time."""

    id: str
    workspace_id: str
    key_id: str
    allowed: Wanted
    streams: Sequence[str] | None
    kinds: Sequence[str] | None
    expires_at: datetime
    life_seconds: float


def make_token(
    connection: Connection,
    settings: Settings,
    *,
    workspace_id: str,
    key_id: str,
    streams: Sequence[str] | None,
    kinds: Sequence[str] | None,
) -> Made:
    """A new token for the events that are of one of these streams (kind:id) and of one of these kinds; None: of all.

    Its life is counted by the database's clock, which all processes share and which decides whether it may be used.
    Raises Problem too_many.
    """
    connection.exec_driver_sql(SWEEP, {"workspace": workspace_id})
    if connection.exec_driver_sql(COUNT, {"workspace": workspace_id}).scalar_one() >= MOST_TOKENS:
        text = f"This workspace has {MOST_TOKENS:,} tokens of the feed, the most there may be; wait until some end."
        raise Problem("too_many", text)
    now = ids.truncate(database_time(connection))
    id = ids.make(ids.TOKEN, now, os.urandom(ids.RANDOM_BYTES))
    # Whole seconds, rounded up: a JWT's exp has no fractions.
    life = timedelta(seconds=settings.stream_token_seconds, microseconds=999_999)
    expires_at = (now + life).replace(microsecond=0)
    connection.exec_driver_sql(
        INSERT,
        {
            "id": id,
            "workspace": workspace_id,
            "key": key_id,
            "streams": None if streams is None else list(streams),
            "kinds": None if kinds is None else list(kinds),
            "now": now,
            "expires": expires_at,
        },
    )
    claims: dict[str, str | int] = {"jti": id, "iat": int(now.timestamp())}
    text = tokens.sign(signing_keys(settings)[0], tokens.FEED, claims, int(expires_at.timestamp()))
    return Made(id, text, expires_at)


def find_token(database: Database, settings: Settings, text: str) -> FeedToken | None:
    """The token of a text, if it may be used now; None for any other text."""
    # By the database's clock, which made the token: this machine's may be an hour off.
    claims = tokens.read(signing_keys(settings), tokens.FEED, text, -math.inf)
    if claims is None or not isinstance(claims.get("jti"), str):
        return None
    with database.begin() as connection:
        return usable_token(connection, claims["jti"])


def usable_token(connection: Connection, token_id: str) -> FeedToken | None:
    """The token with this id, if it may be used now."""
    row = connection.exec_driver_sql(USABLE, {"id": token_id}).one_or_none()
    if row is None:
        return None
    allowed = read_wanted({"streams": row.streams, "kinds": row.kinds})
    return FeedToken(
        row.id, row.workspace_id, row.key_id, allowed, row.streams, row.kinds, row.expires_at, row.life_seconds
    )


def list_tokens(connection: Connection, workspace_id: str, *, before: str | None, limit: int) -> Sequence[Row[Any]]:
    """The tokens of a workspace that work, newest first. before: an id behind which to begin."""
    return connection.exec_driver_sql(LIST, {"workspace": workspace_id, "before": before, "limit": limit}).all()


def revoke_token(connection: Connection, workspace_id: str, token_id: str) -> None:
    """Refuse a token from now on; views that it opened close within seconds. Raises Problem not_found."""
    if connection.exec_driver_sql(REVOKE, {"id": token_id, "workspace": workspace_id}).one_or_none() is None:
        raise not_found("token")
