"""Stream tokens are minted and judged by one clock: the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.accounts.keys import create_key
from app.accounts.workspaces import create_workspace
from app.core import ids
from app.database.connection import Database
from app.ledger import streams
from app.live import tokens
from app.settings import Settings
from tests.database.shifted import shifted

LIFE_SECONDS = 300
BETWEEN = timedelta(seconds=30)  # minting and looking, on a busy machine


@pytest.mark.parametrize("hours", [1, -1])
def test_a_token_of_a_machine_with_a_wrong_clock_is_as_good_as_any(
    database: Database, settings: Settings, hours: int
) -> None:
    right = shifted(database, f"{hours} hours")
    with right.session() as session:
        workspace = create_workspace(session, uid=None, name="Test")
        key = create_key(session, name="k", scopes=["subscribe"], workspace_id=workspace.id)
        streams.open_stream(session, workspace.id, "call", "one", None, settings)
        stream = streams.find_stream(session.connection(), workspace.id, "call", "one")
        assert stream is not None
        token = tokens.make_token(session, stream, key.id, LIFE_SECONDS)
    assert abs(token.created_at - datetime.now(UTC) - timedelta(hours=hours)) < BETWEEN
    assert ids.created_at_of(token.id) == token.created_at
    assert abs(token.expires_at - token.created_at - timedelta(seconds=LIFE_SECONDS)) <= timedelta(seconds=1)
    with right.session() as session:
        assert tokens.usable_token(session.connection(), token.id) is not None
        assert [one.id for one in tokens.list_tokens(session, workspace.id, "call", "one", limit=10)] == [token.id]
        tokens.revoke_token(session, workspace.id, "call", "one", token.id)
    with right.session() as session:
        assert tokens.usable_token(session.connection(), token.id) is None
    right.close()
