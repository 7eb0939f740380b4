"""Tokens of the feed in the database: a workspace has a bounded number of them, and those that have ended make room."""

from __future__ import annotations

import pytest

from app.accounts.keys import create_key
from app.accounts.workspaces import create_workspace
from app.core.problem import Problem
from app.database.connection import Database
from app.live.feed import tokens
from app.settings import Settings


def test_a_workspace_has_a_bounded_number_of_tokens(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_TOKENS", 3)
    with database.session() as session:
        workspaces = [create_workspace(session, uid=None, name="Test").id for _ in range(2)]
        keys = [create_key(session, name="k", scopes=["subscribe"], workspace_id=one).id for one in workspaces]

    def make(number: int = 0) -> str:
        with database.begin() as connection:
            return tokens.make_token(
                connection, settings, workspace_id=workspaces[number], key_id=keys[number], streams=["a:b"], kinds=None
            ).id

    made = [make() for _ in range(3)]
    with pytest.raises(Problem, match="the most there may be") as refused:
        make()
    assert refused.value.code == "too_many"
    assert make(1)  # others have their own number
    with database.begin() as connection:
        tokens.revoke_token(connection, workspaces[0], made[1])
        connection.exec_driver_sql("UPDATE feed_tokens SET expires_at = now() WHERE id = %(id)s", {"id": made[0]})
    assert [bool(make()), bool(make())] == [True, True]
    with pytest.raises(Problem):
        make()
    with database.begin() as connection:
        kept = connection.exec_driver_sql("SELECT id FROM feed_tokens ORDER BY id").scalars().all()
        assert tokens.usable_token(connection, made[2]) is not None
    assert len(kept) == 4
    assert not {made[0], made[1]} & set(kept)
