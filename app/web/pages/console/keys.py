"""Keys: of the platform or of one customer; made, shown once, revoked."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from sqlalchemy.orm import Session

from app.accounts import audit, keys
from app.accounts.workspaces import find_workspace
from app.core import ids
from app.core.problem import Problem
from app.database.partitions import database_time
from app.delivery import browsing
from app.web.pages.console import answers, queries
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("console_keys", __name__)

_LONGEST_NAME = 200


@page(api, "GET", "/console/keys", role=VIEWER)
def key_list(visit: Visit) -> Response:
    return _page(visit, queries.id_or_none(visit.args.get("workspace"), ids.WORKSPACE), None)


@page(api, "POST", "/console/keys", role=OPERATOR)
def create_key(visit: Visit) -> Response:
    """Shows the key in the answer itself, which is not kept anywhere."""
    name = visit.form.get("name", "").strip()
    if not 0 < len(name) <= _LONGEST_NAME:
        raise Problem("invalid", f"A key has a name of 1 to {_LONGEST_NAME} characters that says what it is for.")
    scopes = [scope for scope in keys.SCOPES if visit.form.get(f"scope-{scope}")]
    given = visit.form.get("workspace", "")
    workspace = queries.id_or_none(given, ids.WORKSPACE)
    with visit.act() as session:
        if given and (workspace is None or find_workspace(session, workspace) is None):
            raise Problem("not_found", "There is no such customer.")
        made = keys.create_key(session, name=name, scopes=scopes, workspace_id=workspace)
        audit.note(
            session.connection(), visit.actor, "key.create", target=made.id, workspace_id=workspace, scopes=scopes
        )
    return _page(visit, workspace, {"key": made.key, "name": name})


@page(api, "POST", "/console/keys/{key_id}/revoke", role=OPERATOR)
def revoke_key(visit: Visit, key_id: str) -> Response:
    workspace = queries.id_or_none(visit.form.get("workspace"), ids.WORKSPACE)
    with visit.act() as session:
        keys.revoke_key(session, workspace, key_id)
        audit.note(session.connection(), visit.actor, "key.revoke", target=key_id, workspace_id=workspace)
    return answers.redirect("/console/keys", workspace=workspace, done="revoked")


def _page(visit: Visit, workspace: str | None, made: dict[str, Any] | None) -> Response:
    before = queries.id_or_none(visit.args.get("before"), ids.KEY)
    with visit.read() as connection:
        now = database_time(connection)
        customers = browsing.workspaces_page(connection, limit=200)
        with Session(connection) as session:
            rows = keys.list_keys(session, workspace, limit=queries.PAGE_ROWS + 1, before=before)
            shown = [keys.shown(row) | {"created": row.created_at} for row in rows]
    return visit.show(
        "keys.html",
        rows=shown[: queries.PAGE_ROWS],
        cursor=shown[queries.PAGE_ROWS - 1]["id"] if len(shown) > queries.PAGE_ROWS else None,
        now=now,
        workspace=workspace,
        customers=customers,
        scopes=keys.SCOPES,
        made=made,
    )
