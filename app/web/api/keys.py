"""/v1/keys: the keys of a workspace, or (a platform key that names no workspace) of the platform."""

from __future__ import annotations

from functools import partial

from flask import Blueprint

from app.accounts import keys
from app.core import ids
from app.core.problem import Problem
from app.core.wire.envelope import rfc3339
from app.web.http import paging
from app.web.http.call import OPTIONAL_WORKSPACE, Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route

api = Blueprint("keys", __name__)

FIELDS = (
    Field("name", "text", "what it is for", required=True, shortest=1, longest=200, example="producer"),
    Field(
        "scopes",
        "texts",
        "what it may do",
        required=True,
        choices=keys.SCOPES,
        least=1,
        most=len(keys.SCOPES),
        example=["publish"],
    ),
)


@route(
    api,
    "POST",
    "/v1/keys",
    scope="manage",
    acts_for=OPTIONAL_WORKSPACE,
    body=FIELDS,
    answers={201: "CreatedKey"},
    summary="Make a key; the key itself is in this answer only",
)
def create_key(call: Call) -> Answer:
    beyond = set(call.body["scopes"]) - call.caller.scopes
    if beyond:
        listed = ", ".join(sorted(beyond))
        raise Problem("forbidden", f"A key cannot grant scopes that it does not have; this one lacks {listed}.")
    made = keys.create_key(
        call.session, name=call.body["name"], scopes=call.body["scopes"], workspace_id=call.workspace_id or None
    )
    return Answer(
        {
            "id": made.id,
            "key": made.key,
            "name": call.body["name"],
            "prefix": made.prefix,
            "scopes": made.scopes,
            "created_at": rfc3339(ids.created_at_of(made.id)),
        },
        201,
    )


@route(
    api,
    "GET",
    "/v1/keys",
    scope="manage",
    acts_for=OPTIONAL_WORKSPACE,
    query=paging.PAGE,
    answers={200: "KeyList"},
    summary="List the keys that work, newest first",
)
def list_keys(call: Call) -> Answer:
    read = partial(keys.list_keys, call.session, call.workspace_id or None)
    return Answer(paging.newest_first(call.args, ids.KEY, read, keys.shown))


@route(
    api,
    "GET",
    "/v1/keys/{key_id}",
    scope="manage",
    acts_for=OPTIONAL_WORKSPACE,
    answers={200: "Key"},
    summary="Read a key that works, without its secret",
)
def get_key(call: Call, key_id: str) -> Answer:
    return Answer(keys.shown(keys.get_key(call.session, call.workspace_id or None, key_id)))


@route(
    api,
    "DELETE",
    "/v1/keys/{key_id}",
    scope="manage",
    acts_for=OPTIONAL_WORKSPACE,
    answers={204: ""},
    summary="Revoke a key; it stops working at once",
)
def revoke_key(call: Call, key_id: str) -> Answer:
    keys.revoke_key(call.session, call.workspace_id or None, key_id)
    return Answer(None, 204)
