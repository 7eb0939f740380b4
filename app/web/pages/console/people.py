"""Users with their sessions, and the audit log of who did what."""

from __future__ import annotations

from flask import Blueprint, Response

from app.accounts import audit, users
from app.core import ids
from app.core.problem import Problem
from app.database.partitions import database_time
from app.web.pages.console import answers, queries
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("console_people", __name__)


@page(api, "GET", "/console/users", role=VIEWER)
def user_list(visit: Visit) -> Response:
    with visit.read() as connection:
        return visit.show(
            "users.html",
            people=users.list_users(connection),
            sessions=users.list_sessions(connection),
            now=database_time(connection),
        )


@page(api, "POST", "/console/users/{user_name}/state", role=OPERATOR)
def set_user_state(visit: Visit, user_name: str) -> Response:
    wanted = visit.form.get("state", "")
    if wanted not in ("enabled", "disabled"):
        raise Problem("bad_request", "A user is either enabled or disabled.")
    with visit.act() as session:
        connection = session.connection()
        user = users.get_user(connection, user_name)
        if user.id == visit.person.id:
            raise Problem("conflict", "You cannot disable yourself; somebody else has to.")
        users.change_user(connection, user, disabled=wanted == "disabled")
        audit.note(connection, visit.actor, "user.disable" if wanted == "disabled" else "user.enable", target=user.name)
    return answers.redirect("/console/users", done=f"user-{wanted}")


@page(api, "POST", "/console/users/{user_name}/role", role=OPERATOR)
def set_user_role(visit: Visit, user_name: str) -> Response:
    role = visit.form.get("role", "")
    with visit.act() as session:
        connection = session.connection()
        user = users.get_user(connection, user_name)
        if user.id == visit.person.id:
            raise Problem("conflict", "You cannot change your own role; somebody else has to.")
        users.change_user(connection, user, role=role)
        audit.note(connection, visit.actor, "user.role", target=user.name, role=role)
    return answers.redirect("/console/users", done="role-changed")


@page(api, "POST", "/console/users/{user_name}/sessions/{session_id}/end", role=OPERATOR)
def end_session(visit: Visit, user_name: str, session_id: str) -> Response:
    with visit.act() as session:
        connection = session.connection()
        user = users.get_user(connection, user_name)
        if not ids.is_id(ids.SESSION, session_id) or not users.end_session(connection, user.id, session_id):
            raise Problem("not_found", "There is no such session; it may have ended.")
        audit.note(connection, visit.actor, "session.revoke", target=user.name, session=session_id)
    return answers.redirect("/console/users", done="session-ended")


@page(api, "GET", "/console/audit", role=VIEWER)
def audit_log(visit: Visit) -> Response:
    workspace = queries.id_or_none(visit.args.get("workspace"), ids.WORKSPACE)
    before = queries.number_or_none(visit.args.get("before"))
    with visit.read() as connection:
        rows = audit.entries(connection, workspace_id=workspace, before=before, limit=queries.PAGE_ROWS + 1)
        now = database_time(connection)
    return visit.show(
        "audit.html",
        rows=rows[: queries.PAGE_ROWS],
        cursor=rows[queries.PAGE_ROWS - 1].id if len(rows) > queries.PAGE_ROWS else None,
        now=now,
        workspace=workspace,
    )
