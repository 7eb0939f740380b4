"""The keys that a local run hands out: made once, remembered in a private file, made again when the database is new."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from app.accounts.callers import Callers
from app.accounts.keys import SCOPES, create_key
from app.accounts.workspaces import create_workspace, find_workspace
from app.database.connection import Database
from app.local.private_file import write_private

WORKSPACE_UID = "demo"


@dataclass(frozen=True)
class LocalKeys:
    """A platform key, the demo workspace and that workspace's key; both keys have every scope."""

    platform_key: str
    workspace_id: str
    workspace_key: str


def local_keys(database: Database, remembered: Path) -> LocalKeys:
    """The keys in the file `remembered` while the database knows them, else new ones, which the file then holds."""
    with suppress(FileNotFoundError, ValueError, TypeError):
        keys = LocalKeys(**json.loads(remembered.read_text()))
        if _still_work(database, keys):
            return keys
    keys = make_keys(database)
    write_private(remembered, json.dumps(asdict(keys), indent=2) + "\n")
    return keys


def make_keys(database: Database) -> LocalKeys:
    """New keys; the demo workspace is made when there is none."""
    with database.session() as session:
        workspace = find_workspace(session, WORKSPACE_UID) or create_workspace(session, uid=WORKSPACE_UID, name="Demo")
        platform = create_key(session, name="local platform key", scopes=SCOPES, workspace_id=None)
        own = create_key(session, name="local demo key", scopes=SCOPES, workspace_id=workspace.id)
        return LocalKeys(platform.key, workspace.id, own.key)


def _still_work(database: Database, keys: LocalKeys) -> bool:
    callers = Callers(database)
    platform, own = callers.authenticate(keys.platform_key), callers.authenticate(keys.workspace_key)
    return bool(platform and platform.is_platform and own and own.workspace_id == keys.workspace_id)
