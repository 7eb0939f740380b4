"""Who is calling, and for which workspace.

Every request looks its key up again, so a revoked key is dead at once; requests that arrive together share the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from app.accounts.keys import digest
from app.accounts.workspaces import absent
from app.core.problem import Problem
from app.database.batching import Batcher
from app.database.connection import Database
from app.database.tables import ApiKey, Workspace

LONGEST_SECRET = 200  # a key has 46 letters; longer text is not worth hashing
LONGEST_REFERENCE = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is. workspace_id: None for a platform key, which may act for any workspace."""

    key_id: str
    workspace_id: str | None
    scopes: frozenset[str]

    @property
    def is_platform(self) -> bool:
        """Whether this key may act for any workspace."""
        return self.workspace_id is None

    def require(self, scope: str) -> None:
        """Raises Problem forbidden unless the key has this scope."""
        if scope not in self.scopes:
            raise Problem("forbidden", f"This needs a key with the scope {scope}; this key has {self._listed()}.")

    def require_platform(self) -> None:
        """Raises Problem forbidden for a workspace key."""
        if not self.is_platform:
            raise Problem("forbidden", "This needs a platform key (sk_…); this is the key of one workspace.")

    def _listed(self) -> str:
        return ", ".join(sorted(self.scopes))


class Access:
    """The look-ups behind every request."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._callers: Batcher[bytes, Caller | None] = Batcher(self._find_callers)
        self._workspaces: Batcher[str, str | None] = Batcher(self._find_workspaces)

    def authenticate(self, secret: str) -> Caller | None:
        """Who this key belongs to; None when there is no such key or it is revoked."""
        return self._callers.submit(digest(secret)) if 0 < len(secret) <= LONGEST_SECRET else None

    def caller_of_key(self, key_id: str) -> Caller | None:
        """Whose key has this id; None when it is revoked or gone. For credentials that stand for a key."""
        with self._database.begin() as connection:
            row = connection.execute(
                select(ApiKey.id, ApiKey.workspace_id, ApiKey.scopes).where(
                    ApiKey.id == key_id, ApiKey.revoked_at.is_(None)
                )
            ).one_or_none()
        return None if row is None else Caller(row.id, row.workspace_id, frozenset(row.scopes))

    def workspace_for(self, caller: Caller, reference: str | None) -> str:
        """The id of the workspace that the caller acts for.

        reference: what the X-Workspace header says, an id or a uid. Raises Problem: bad_request when a platform key
        names none, not_found when it does not exist or is not the caller's own.
        """
        if not reference:
            if caller.workspace_id is None:
                raise Problem(
                    "bad_request",
                    "A platform key acts for a workspace: name it in the X-Workspace header, by its id or uid.",
                )
            return caller.workspace_id
        if reference == caller.workspace_id:
            return reference
        found = self._named(reference)
        if found is None or (not caller.is_platform and found != caller.workspace_id):
            raise absent()
        return found

    def _named(self, reference: str) -> str | None:
        if len(reference) > LONGEST_REFERENCE or "\0" in reference:
            return None
        return self._workspaces.submit(reference)

    def _find_callers(self, digests: list[bytes]) -> Sequence[Caller | None]:
        query = select(ApiKey.secret_hash, ApiKey.id, ApiKey.workspace_id, ApiKey.scopes).where(
            ApiKey.secret_hash.in_(set(digests)), ApiKey.revoked_at.is_(None)
        )
        with self._database.begin() as connection:
            found = {
                bytes(row.secret_hash): Caller(row.id, row.workspace_id, frozenset(row.scopes))
                for row in connection.execute(query)
            }
        return [found.get(digest) for digest in digests]

    def _find_workspaces(self, references: list[str]) -> Sequence[str | None]:
        query = select(Workspace.id, Workspace.uid).where(
            Workspace.id.in_(set(references)) | Workspace.uid.in_(set(references))
        )
        found: dict[str, str] = {}
        with self._database.begin() as connection:
            for row in connection.execute(query):
                found[row.id] = found[row.uid] = row.id
        return [found.get(reference) for reference in references]
