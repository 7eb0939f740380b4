"""Who calls, and for which workspace.

A revoked key stops working at once, because every request has its key judged. Either it is looked up, in a query that
requests share that arrive together; or the statement that does what is asked for judges it, too (judge_caller.sql), and
what was found within the last ten seconds is enough to know whom the request is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Row

from app.accounts.keys import digest
from app.accounts.workspaces import absent
from app.core.problem import Problem
from app.database.batching import Batcher
from app.database.connection import Database

LONGEST_SECRET = 200  # a key has 46 letters; longer text is not worth hashing
REMEMBERED_SECONDS = 10.0  # how long a key that was good opens the way to a statement that judges it again
MOST_REMEMBERED = 10_000  # keys, and names of workspaces, in one process
LONGEST_REFERENCE = 200  # of what X-Workspace says: an id has 29 letters, a uid at most 128

# The keys with these hashes that are not revoked.
KEYS_BY_DIGEST = """
SELECT secret_hash, id, workspace_id, scopes FROM api_keys
WHERE secret_hash = ANY(%(digests)s::bytea[]) AND revoked_at IS NULL
"""

# A key by its id, unless it is revoked.
KEY_BY_ID = "SELECT id, workspace_id, scopes FROM api_keys WHERE id = %(id)s AND revoked_at IS NULL"

# The workspaces that have one of these names as their id or uid.
WORKSPACES_BY_REFERENCE = """
SELECT id, uid FROM workspaces WHERE id = ANY(%(references)s::text[]) OR uid = ANY(%(references)s::text[])
"""


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
            raise Problem("forbidden", f"This request needs the scope {scope}; this key has {self._listed()}.")

    def require_platform(self) -> None:
        """Raises Problem forbidden for a workspace key."""
        if not self.is_platform:
            raise Problem("forbidden", "This request needs a platform key (sk_…); this key belongs to one workspace.")

    def _listed(self) -> str:
        return ", ".join(sorted(self.scopes))


class Presented(NamedTuple):
    """With what a caller has come, to be judged by the database: the digest of a key, and what X-Workspace called the
    workspace ("" when it was not needed to know it)."""

    digest: bytes
    reference: str = ""


def refusal_of(verdict: str, scope: str) -> Problem:
    """The answer to a caller whom judge_caller refuses."""
    if verdict == "not_found":
        return absent()
    if verdict == "forbidden":
        return Problem("forbidden", f"This request needs the scope {scope}; this key does not have it.")
    if verdict == "moved":
        text = "The name of the workspace has just been given to another; repeat the request."
        return Problem("unavailable", text, retry_after_seconds=1)
    return Problem("unauthorized", "This key is unknown or has been revoked; ask for a new one.")


K = TypeVar("K")
V = TypeVar("V")


class _Remembered(Generic[K, V]):
    """What was found lately, by what was looked for. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        at, value = self._found.get(key, (None, None))
        return value if at is not None and self._clock() - at < REMEMBERED_SECONDS else None

    def put(self, key: K, value: V | None) -> None:
        """None: it was not found."""
        if value is None:
            self._found.pop(key, None)
            return
        if len(self._found) >= MOST_REMEMBERED:
            self._found.clear()
        self._found[key] = (self._clock(), value)


class Callers:
    """Finds out who calls and for which workspace. May be used by many requests at once: they share its queries."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: monotonic seconds."""
        self._database = database
        self._known_callers: _Remembered[bytes, Caller] = _Remembered(clock)
        self._known_workspaces: _Remembered[str, str] = _Remembered(clock)
        self._callers: Batcher[bytes, Caller | None] = Batcher(self._find_callers)
        self._workspaces: Batcher[str, str | None] = Batcher(self._find_workspaces)

    def authenticate(self, secret: str) -> Caller | None:
        """Whose key this is; None when there is no such key or it is revoked."""
        if not 0 < len(secret) <= LONGEST_SECRET:
            return None
        sought = digest(secret)
        caller = self._callers.submit(sought)
        self._known_callers.put(sought, caller)
        return caller

    def remembered(self, sought: bytes) -> Caller | None:
        """Whose key this was within the last REMEMBERED_SECONDS: to be judged again by what is done for it. sought: the
        key's digest."""
        return self._known_callers.get(sought)

    def caller_of_key(self, key_id: str) -> Caller | None:
        """Whose key has this id; None when it is revoked or gone. For credentials that stand for a key."""
        with self._database.begin() as connection:
            row = connection.exec_driver_sql(KEY_BY_ID, {"id": key_id}).one_or_none()
        return None if row is None else _caller(row)

    def may_still_act(self, caller: Caller, workspace_id: str) -> bool:
        """Whether a caller's key and a workspace that it acts for still exist. For what goes on after the request."""
        if self.caller_of_key(caller.key_id) is None:
            return False
        try:
            self.workspace_for(caller, workspace_id)
        except Problem:
            return False
        return True

    def workspace_for(self, caller: Caller, reference: str | None, *, remembered: bool = False) -> str:
        """The id of the workspace that the caller acts for.

        reference: what the X-Workspace header says, an id or a uid. remembered: what was found within the last
        REMEMBERED_SECONDS is good enough, because it will be judged again. Raises Problem: bad_request when a platform
        key names none, not_found when it does not exist or is not the caller's own.
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
        workspace_id = (self._known_workspaces.get(reference) if remembered else None) or self._named(reference)
        if workspace_id is None or (not caller.is_platform and workspace_id != caller.workspace_id):
            raise absent()
        return workspace_id

    def _named(self, reference: str) -> str | None:
        if len(reference) > LONGEST_REFERENCE or "\0" in reference:
            return None
        workspace_id = self._workspaces.submit(reference)
        self._known_workspaces.put(reference, workspace_id)
        return workspace_id

    def _find_callers(self, digests: list[bytes]) -> Sequence[Caller | None]:
        with self._database.begin() as connection:
            rows = connection.exec_driver_sql(KEYS_BY_DIGEST, {"digests": list(set(digests))}).all()
        callers = {bytes(row.secret_hash): _caller(row) for row in rows}
        return [callers.get(digest) for digest in digests]

    def _find_workspaces(self, references: list[str]) -> Sequence[str | None]:
        with self._database.begin() as connection:
            rows = connection.exec_driver_sql(WORKSPACES_BY_REFERENCE, {"references": list(set(references))}).all()
        workspace_ids = {name: row.id for row in rows for name in (row.id, row.uid)}
        return [workspace_ids.get(reference) for reference in references]


def _caller(row: Row[Any]) -> Caller:
    return Caller(row.id, row.workspace_id, frozenset(row.scopes))
