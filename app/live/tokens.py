"""Stream tokens: short-lived credentials for one stream. A row makes each listable and revocable."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from app.core import ids, sealing, tokens
from app.core.problem import not_found
from app.database.connection import Database
from app.database.partitions import database_time
from app.database.tables import Stream, StreamToken
from app.ledger.streams import StreamRow
from app.settings import Settings

_PURPOSE = "signing stream tokens"

# A token with the key that made it, if both may still be used, and the time by which that is judged.
USABLE_TOKEN = """
SELECT stream_tokens.stream_id, stream_tokens.workspace_id, stream_tokens.key_id, api_keys.scopes,
       extract(epoch FROM now())::float8 AS now
  FROM stream_tokens
  JOIN api_keys ON api_keys.id = stream_tokens.key_id
 WHERE stream_tokens.id = %(id)s
   AND stream_tokens.revoked_at IS NULL
   AND stream_tokens.expires_at > now()
   AND api_keys.revoked_at IS NULL
"""

# Whether a key, and the token that it made if one is named, may publish at this moment.
MAY_PUBLISH = """
SELECT EXISTS (
       SELECT 1
         FROM api_keys
        WHERE id = %(key_id)s
          AND revoked_at IS NULL
          AND 'publish' = ANY(scopes))
   AND (%(token_id)s::text IS NULL OR EXISTS (
       SELECT 1
         FROM stream_tokens
        WHERE id = %(token_id)s
          AND revoked_at IS NULL
          AND expires_at > now()))
"""

# Those of some keys and users, and of some tokens and sessions, that are revoked, disabled or gone.
DEAD_CREDENTIALS = """
SELECT asked.id
  FROM unnest(%(key_ids)s::text[]) AS asked (id)
  LEFT JOIN api_keys ON api_keys.id = asked.id
  LEFT JOIN users ON users.id = asked.id
 WHERE api_keys.id IS NULL AND users.id IS NULL
    OR api_keys.revoked_at IS NOT NULL
    OR users.disabled_at IS NOT NULL
 UNION ALL
SELECT asked.id
  FROM unnest(%(token_ids)s::text[]) AS asked (id)
  LEFT JOIN stream_tokens ON stream_tokens.id = asked.id
  LEFT JOIN sessions ON sessions.id = asked.id
 WHERE stream_tokens.id IS NULL AND sessions.id IS NULL
    OR stream_tokens.revoked_at IS NOT NULL
    OR sessions.revoked_at IS NOT NULL
"""


def make_token(session: Session, stream: StreamRow, key_id: str, life_seconds: int) -> StreamToken:
    """A row for a new token of this stream; `signed` makes the text from it.

    Its life is counted by the database's clock, which all processes share and which decides whether it may be used.
    """
    now = ids.truncate(database_time(session.connection()))
    token = StreamToken(
        id=ids.make(ids.TOKEN, now, os.urandom(ids.RANDOM_BYTES)),
        stream_id=stream.id,
        workspace_id=stream.workspace_id,
        key_id=key_id,
        created_at=now,
        # Whole seconds, rounded up: a JWT's exp has no fractions.
        expires_at=(now + timedelta(seconds=life_seconds, microseconds=999_999)).replace(microsecond=0),
    )
    session.add(token)
    return token


def list_tokens(session: Session, workspace_id: str, kind: str, external_id: str, *, limit: int) -> list[StreamToken]:
    """The tokens of a stream that are neither expired nor revoked, newest first."""
    query = (
        select(StreamToken)
        .join(Stream, Stream.id == StreamToken.stream_id)
        .where(Stream.workspace_id == workspace_id, Stream.kind == kind, Stream.external_id == external_id)
        .where(StreamToken.revoked_at.is_(None), StreamToken.expires_at > func.now())
    )
    return list(session.scalars(query.order_by(StreamToken.id.desc()).limit(limit)))


def revoke_token(session: Session, workspace_id: str, kind: str, external_id: str, token_id: str) -> None:
    """Refuse a token of this stream from now on; streams it opened close within seconds. Raises Problem not_found."""
    token = session.scalar(
        select(StreamToken)
        .join(Stream, Stream.id == StreamToken.stream_id)
        .where(StreamToken.id == token_id, Stream.workspace_id == workspace_id)
        .where(Stream.kind == kind, Stream.external_id == external_id)
    )
    if token is None:
        raise not_found("token")
    token.revoked_at = token.revoked_at or database_time(session.connection())


@dataclass(frozen=True, slots=True)
class UsableToken:
    """A token's stream and workspace, and the key that made it with its scopes. now: the database's time, in Unix
    seconds."""

    stream_id: int
    workspace_id: str
    key_id: str
    scopes: Sequence[str]
    now: float


def usable_token(connection: Connection, token_id: str) -> UsableToken | None:
    """The token, if it is neither revoked nor expired and was made by a living key."""
    row = connection.exec_driver_sql(USABLE_TOKEN, {"id": token_id}).one_or_none()
    return None if row is None else UsableToken(row.stream_id, row.workspace_id, row.key_id, row.scopes, row.now)


def verified(database: Database, settings: Settings, text: str) -> tuple[tokens.Claims, UsableToken] | None:
    """What a token's text says, and its row, if it may be used now; None for any other text."""
    # By the database's clock, which minted the token: this machine's may be an hour off.
    claims = tokens.decode(signing_keys(settings), text, now=-math.inf)
    if claims is None:
        return None
    with database.begin() as connection:
        row = usable_token(connection, claims.id)
    return None if row is None or claims.expires_at <= row.now else (claims, row)


def may_publish(connection: Connection, key_id: str, token_id: str | None) -> bool:
    """Whether this key, or the token that it made, may publish now: neither is revoked or gone, nor has it expired."""
    return bool(connection.exec_driver_sql(MAY_PUBLISH, {"key_id": key_id, "token_id": token_id}).scalar_one())


def dead_credentials(connection: Connection, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]:
    """Those of these key and user ids, and of these token and session ids, that are revoked, disabled or gone."""
    rows = connection.exec_driver_sql(DEAD_CREDENTIALS, {"key_ids": list(key_ids), "token_ids": list(token_ids)})
    return {row.id for row in rows}


def signing_keys(settings: Settings) -> list[bytes]:
    """The keys that tokens may be signed with, the present one first."""
    return [sealing.derive(material, _PURPOSE) for material in settings.secret_keys]


def signed(settings: Settings, row: StreamToken, stream: StreamRow) -> str:
    """The text of a token: a signed JWT that names the stream."""
    claims = tokens.Claims(row.id, stream.kind, stream.external_id, int(row.expires_at.timestamp()))
    return tokens.encode(signing_keys(settings)[0], claims, int(row.created_at.timestamp()))
