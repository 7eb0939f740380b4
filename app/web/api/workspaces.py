"""/v1/workspaces: the platform's customers."""

from __future__ import annotations

from functools import partial

from flask import Blueprint

from app.accounts import workspaces
from app.core import ids
from app.core.event import names
from app.core.problem import invalid
from app.database.tables import Workspace
from app.web.http import paging
from app.web.http.call import PLATFORM, Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route

api = Blueprint("workspaces", __name__)

NAME = Field("name", "text", "what people call it", required=True, shortest=1, longest=200, example="Acme Ltd")
UID = Field(
    "uid",
    "text",
    "your own name for it, unique; its id serves when left out",
    pattern=names.UID,
    hint=names.UID_HINT,
    longest=128,
    shape={"not": {"pattern": f"^{ids.WORKSPACE}_"}},
    example="acme",
)
CHANGED_NAME = Field("name", "text", "what people call it", shortest=1, longest=200)


@route(
    api,
    "POST",
    "/v1/workspaces",
    scope="manage",
    acts_for=PLATFORM,
    body=(UID, NAME),
    answers={201: "Workspace"},
    summary="Make a workspace",
)
def create_workspace(call: Call) -> Answer:
    call.caller.require_platform()
    row = workspaces.create_workspace(call.session, uid=call.body.get("uid"), name=call.body["name"])
    return Answer(workspaces.shown(row), 201)


@route(
    api,
    "GET",
    "/v1/workspaces",
    scope="manage",
    acts_for=PLATFORM,
    query=paging.PAGE,
    answers={200: "WorkspaceList"},
    summary="List workspaces, newest first",
)
def list_workspaces(call: Call) -> Answer:
    call.caller.require_platform()
    read = partial(workspaces.list_workspaces, call.session)
    return Answer(paging.newest_first(call.args, ids.WORKSPACE, read, workspaces.shown))


@route(
    api,
    "GET",
    "/v1/workspaces/{workspace}",
    scope="manage",
    acts_for=PLATFORM,
    answers={200: "Workspace"},
    summary="Read a workspace by its id or uid",
)
def get_workspace(call: Call, workspace: str) -> Answer:
    return Answer(workspaces.shown(_reachable(call, workspace)))


@route(
    api,
    "PUT",
    "/v1/workspaces/{workspace}",
    scope="manage",
    acts_for=PLATFORM,
    body=(NAME,),
    answers={201: "Workspace", 200: "Workspace"},
    summary="Make a workspace under a uid, or give the one that is there this name; may be repeated safely",
)
def put_workspace(call: Call, workspace: str) -> Answer:
    if not call.caller.is_platform:
        _reachable(call, workspace)  # of others it is not even told that they are there
    call.caller.require_platform()
    if not names.UID.fullmatch(workspace):
        raise invalid("uid", names.UID_HINT)
    row, is_new = workspaces.put_workspace(call.session, workspace, name=call.body["name"])
    return Answer(workspaces.shown(row), 201 if is_new else 200)


@route(
    api,
    "PATCH",
    "/v1/workspaces/{workspace}",
    scope="manage",
    acts_for=PLATFORM,
    body=(UID, CHANGED_NAME),
    answers={200: "Workspace"},
    summary="Rename a workspace",
)
def change_workspace(call: Call, workspace: str) -> Answer:
    row = _reachable(call, workspace)
    call.caller.require_platform()
    workspaces.change_workspace(call.session, row, uid=call.body.get("uid"), name=call.body.get("name"))
    return Answer(workspaces.shown(row))


@route(
    api,
    "DELETE",
    "/v1/workspaces/{workspace}",
    scope="manage",
    acts_for=PLATFORM,
    answers={204: ""},
    summary="Delete a workspace with everything in it; its keys stop working at once",
)
def delete_workspace(call: Call, workspace: str) -> Answer:
    row = _reachable(call, workspace)
    call.caller.require_platform()
    workspaces.delete_workspace(call.session, row.id)
    return Answer(None, 204)


def _reachable(call: Call, reference: str) -> Workspace:
    """The workspace, as far as the caller may know of it: a workspace key knows its own only."""
    row = None if "\0" in reference else workspaces.find_workspace(call.session, reference)
    if row is None or not (call.caller.is_platform or call.caller.workspace_id == row.id):
        raise workspaces.absent()
    return row
