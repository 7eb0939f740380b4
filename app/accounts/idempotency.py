"""POSTs that may be repeated: the first answer to an Idempotency-Key is kept, sealed, and given to every repeat.

The key's row is inserted in the transaction that does the work. A repeat that comes meanwhile waits at the unique
index until that transaction ends, then finds the answer: one effect, however many requests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import sealing
from app.core.problem import Problem
from app.database.tables import IdempotentRequest


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer that an Idempotency-Key got before."""

    status: int
    body: bytes


def claim(session: Session, keys: Sequence[str], owner: str, key: str, fingerprint: bytes) -> Kept | None:
    """Claim the key for this transaction (None), or find the answer that it got before.

    keys: the sealing keys, the present one first. owner: whose key it is. fingerprint: a hash of the whole request.
    Raises Problem idempotency_conflict when the key was used for another request.
    """
    claimed = session.execute(
        insert(IdempotentRequest)
        .values(owner=owner, key=key, fingerprint=fingerprint, status=0, sealed_body=b"", created_at=func.now())
        .on_conflict_do_nothing()
        .returning(IdempotentRequest.key)
    ).scalar()
    if claimed is not None:
        return None
    row = session.scalars(
        select(IdempotentRequest).where(IdempotentRequest.owner == owner, IdempotentRequest.key == key)
    ).one()
    if bytes(row.fingerprint) != fingerprint:
        raise Problem("idempotency_conflict", "This Idempotency-Key was used for another request; use a new one.")
    return Kept(row.status, sealing.unseal(keys, row.sealed_body))


def keep(session: Session, keys: Sequence[str], owner: str, key: str, status: int, body: bytes) -> None:
    """Remember the answer of the transaction that claimed the key."""
    session.execute(
        update(IdempotentRequest)
        .where(IdempotentRequest.owner == owner, IdempotentRequest.key == key)
        .values(status=status, sealed_body=sealing.seal(keys[0], body, os.urandom(sealing.NONCE_BYTES)))
    )
