"""How many live connections one process has open, and how many it may have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Whose = Literal["process", "workspace", "key"]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The most connections of the process, of one workspace and of one key."""

    process: int
    workspace: int
    key: int


class Full(Exception):
    """A connection limit is reached. whose: "process", "workspace" or "key"; most: the limit."""

    def __init__(self, whose: Whose, most: int) -> None:
        super().__init__(f"the {whose} has {most} connections, its limit")
        self.whose = whose
        self.most = most


@dataclass(slots=True)
class ConnectionCounts:
    """The open connections of the process, by workspace id and by key id. Only ids with an open connection are kept.

    A stream token counts for the key that made it. Not thread-safe: the hub changes it under its lock.
    """

    process: int = 0
    by_workspace: Counter[str] = field(default_factory=Counter)
    by_key: Counter[str] = field(default_factory=Counter)

    def check(self, workspace_id: str, key_id: str, limits: ConnectionLimits) -> None:
        """Raises Full unless one more connection may open; of several limits reached, the widest is named."""
        if self.process >= limits.process:
            raise Full("process", limits.process)
        if self.by_workspace[workspace_id] >= limits.workspace:
            raise Full("workspace", limits.workspace)
        if self.by_key[key_id] >= limits.key:
            raise Full("key", limits.key)

    def add(self, workspace_id: str, key_id: str) -> None:
        """Count a connection that opens."""
        self.process += 1
        self.by_workspace[workspace_id] += 1
        self.by_key[key_id] += 1

    def remove(self, workspace_id: str, key_id: str) -> None:
        """Uncount a connection that was added."""
        self.process -= 1
        for counts, id in ((self.by_workspace, workspace_id), (self.by_key, key_id)):
            counts[id] -= 1
            if counts[id] <= 0:
                del counts[id]
