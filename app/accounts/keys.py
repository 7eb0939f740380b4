"""API keys: made, listed, revoked. The secret is shown once; only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import os
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import ids
from app.core.problem import invalid, not_found
from app.core.wire.envelope import rfc3339
from app.database.tables import ApiKey

SCOPES = ("publish", "subscribe", "manage", "operate")
PLATFORM, WORKSPACE = "sk_", "pk_"
_ALPHABET = string.ascii_letters + string.digits  # no punctuation: a double click selects the whole key
_LETTERS = 43  # 62 ** 43 > 2 ** 256: nothing slower than SHA-256 is needed to store it
_SHOWN = 9  # letters of a key that lists show: pk_ and 6 of 43, enough to recognise it


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. key: the secret, which cannot be read again."""

    id: str
    key: str
    prefix: str
    scopes: list[str]


def digest(secret: str) -> bytes:
    """What the database keeps of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def create_key(session: Session, *, name: str, scopes: Sequence[str], workspace_id: str | None) -> CreatedKey:
    """A new key of a workspace, or a platform key when workspace_id is None. Raises Problem for an unknown scope."""
    chosen = [scope for scope in SCOPES if scope in scopes]
    if not chosen or len(chosen) != len(set(scopes)):
        raise invalid("scopes", f"give one or more of {', '.join(SCOPES)}")
    now = ids.truncate(datetime.now(UTC))
    kind = WORKSPACE if workspace_id else PLATFORM
    secret = kind + "".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS))
    row = ApiKey(
        id=ids.make(ids.KEY, now, os.urandom(ids.RANDOM_BYTES)),
        workspace_id=workspace_id,
        name=name,
        prefix=secret[:_SHOWN],
        secret_hash=digest(secret),
        scopes=chosen,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return CreatedKey(row.id, secret, row.prefix, chosen)


def list_keys(session: Session, workspace_id: str | None, *, limit: int, before: str | None) -> list[ApiKey]:
    """Keys that work, newest first, at most `limit`, older than the id `before`. workspace_id None: platform keys."""
    query = select(ApiKey).where(_owned(workspace_id), ApiKey.revoked_at.is_(None))
    if before is not None:
        query = query.where(ApiKey.id < before)
    return list(session.scalars(query.order_by(ApiKey.id.desc()).limit(limit)))


def get_key(session: Session, workspace_id: str | None, key_id: str) -> ApiKey:
    """A key that works. workspace_id None: of the platform. Raises Problem not_found, also for one that is revoked."""
    query = select(ApiKey).where(ApiKey.id == key_id, _owned(workspace_id), ApiKey.revoked_at.is_(None))
    row = session.scalars(query).one_or_none()
    if row is None:
        raise not_found("key")
    return row


def revoke_key(session: Session, workspace_id: str | None, key_id: str) -> None:
    """Revoke a key: from now on it is refused. Raises Problem not_found, also for one that is revoked already."""
    revoked = session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, _owned(workspace_id), ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiKey.id)
    ).scalar()
    if revoked is None:
        raise not_found("key")


def shown(row: ApiKey) -> dict[str, Any]:
    """A key as the API answers it: without its secret, which is not stored."""
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_at": rfc3339(row.created_at),
    }


def _owned(workspace_id: str | None) -> Any:
    return ApiKey.workspace_id.is_(None) if workspace_id is None else ApiKey.workspace_id == workspace_id
