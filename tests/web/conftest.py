"""The application over a fresh database, and ways into it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.accounts.keys import SCOPES, create_key
from app.contracts import load
from app.database.connection import Database
from app.settings import Settings
from app.web import engine
from tests.web.doors import Door

# Of an application that answers nothing.
NO_ENGINES = {"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://127.0.0.1:1", "SECRET_KEY": "0123456789" * 4}


@dataclass(frozen=True)
class Made:
    """An application as it was made: with its routes, and with nothing that a request has left there."""

    app: Flask
    extensions: Mapping[str, Any]


@pytest.fixture(scope="session")
def application() -> Made:
    """Made once for all tests, as its two hundred routes take longer than most of them."""
    app = create_app(Settings.from_env(NO_ENGINES))
    return Made(app, dict(app.extensions))


@pytest.fixture
def app(application: Made, settings: Settings) -> Iterator[Flask]:
    """The application, with an engine of this test's own (but for the contracts, which are files)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "load", lambda extra, own_routes: engine.engine_of(application.app).rules)
        own = engine.make(settings, time.monotonic, ())
    application.app.extensions.clear()
    application.app.extensions.update(application.extensions)
    engine.install(application.app, own)
    yield application.app
    own.close()


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
