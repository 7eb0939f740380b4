"""Who is calling: one query for all who wait, none remembered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from app.accounts.callers import Callers
from app.accounts.keys import create_key, revoke_key
from app.accounts.workspaces import create_workspace
from app.core.problem import Problem
from app.database.connection import Database


@pytest.fixture
def callers(database: Database) -> Callers:
    return Callers(database)


def make(database: Database, uid: str) -> tuple[str, str, str]:
    """(workspace id, key id, secret)"""
    with database.session() as session:
        workspace = create_workspace(session, uid=uid, name=uid)
        key = create_key(session, name="k", scopes=["publish"], workspace_id=workspace.id)
    return workspace.id, key.id, key.key


def test_each_of_many_at_once_is_told_apart_in_few_queries(callers: Callers, database: Database) -> None:
    made = {secret: workspace for workspace, _, secret in (make(database, f"w{n}") for n in range(20))}
    asked = [*made, "pk_unknown"] * 10
    queries: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: queries.append(args[2]))
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(callers.authenticate, asked))
    assert [caller and caller.workspace_id for caller in found] == [made.get(secret) for secret in asked]
    assert len(queries) < len(asked) / 2


def test_a_revoked_key_is_unknown_at_the_very_next_call(callers: Callers, database: Database) -> None:
    workspace, key, secret = make(database, "acme")
    assert callers.authenticate(secret) is not None
    with database.session() as session:
        revoke_key(session, workspace, key)
    assert callers.authenticate(secret) is None


def test_a_missing_scope_is_named(callers: Callers, database: Database) -> None:
    _, _, secret = make(database, "acme")
    caller = callers.authenticate(secret)
    assert caller is not None
    caller.require("publish")
    with pytest.raises(Problem, match="scope manage; this key has publish"):
        caller.require("manage")


@pytest.mark.parametrize("secret", ["", "pk_", "x" * 201, "pk_\ud800", "pk_\0"])
def test_what_cannot_be_a_key_is_nobody(callers: Callers, secret: str) -> None:
    assert callers.authenticate(secret) is None


@pytest.mark.parametrize("reference", ["nobody", "x" * 201, "a\0b", "' OR true --"])
def test_a_workspace_that_is_not_there_is_not_found(callers: Callers, database: Database, reference: str) -> None:
    _, _, secret = make(database, "acme")
    caller = callers.authenticate(secret)
    assert caller is not None
    with pytest.raises(Problem, match="no such workspace"):
        callers.workspace_for(caller, reference)
