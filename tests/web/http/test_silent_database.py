"""PostgreSQL falls silent behind a web process: a request waits for it once."""

from __future__ import annotations

import time

from app import create_app
from app.accounts.keys import create_key
from app.accounts.workspaces import create_workspace
from app.database.connection import Database
from app.ledger.group import CALL_SECONDS
from app.settings import Settings
from app.web.engine import engine_of
from tests.database.black_hole import BlackHole
from tests.web.doors import Door

HASTE_SECONDS = 3  # of a busy machine
EVENT = {"stream": {"kind": "note", "id": "s"}, "type": "note.added", "data": {}}


def test_an_event_that_cannot_be_stored_is_answered_without_another_look_at_its_key(
    hole: BlackHole, database: Database, environ: dict[str, str]
) -> None:
    with database.session() as session:
        workspace = create_workspace(session, name="acme", uid="acme")
        key = create_key(session, name="all", scopes=("publish",), workspace_id=workspace.id).key
    app = create_app(Settings.from_env({**environ, "DATABASE_URL": hole.url}))
    try:
        door = Door(app, key)
        door.post("/v1/events", EVENT, status=202)
        hole.fall_silent()
        begun = time.monotonic()
        assert door.post("/v1/events", EVENT, status=503)["code"] == "unavailable"
        assert time.monotonic() - begun < CALL_SECONDS + HASTE_SECONDS
    finally:
        hole.flow()
        engine_of(app).close()
