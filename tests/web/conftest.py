"""The application over a fresh database, and ways into it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from app import create_app
from app.accounts.keys import SCOPES, create_key
from app.database.connection import Database
from app.settings import Settings
from app.web.engine import engine_of
from tests.web.doors import Door


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    for one in engine_of(made).databases.values():
        one.close()


@pytest.fixture
def platform(app: Flask, database: Database) -> Door:
    """A platform key with every scope, which names no workspace."""
    with database.session() as session:
        key = create_key(session, name="platform", scopes=SCOPES, workspace_id=None).key
    return Door(app, key)


@pytest.fixture
def acme(platform: Door) -> Door:
    """A workspace key with every scope."""
    return open_workspace(platform, "acme")


@pytest.fixture
def globex(platform: Door) -> Door:
    """The same of another workspace."""
    return open_workspace(platform, "globex")


def open_workspace(platform: Door, uid: str) -> Door:
    workspace = platform.post("/v1/workspaces", {"name": uid.title(), "uid": uid})
    made = platform.post("/v1/keys", {"name": "all", "scopes": list(SCOPES)}, headers={"X-Workspace": uid})
    return Door(platform.app, made["key"], workspace["id"])
