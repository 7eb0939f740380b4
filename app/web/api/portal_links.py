"""/v1/portal-links: links that let a customer into the portal of one workspace."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint
from sqlalchemy import Row

from app.accounts import portal
from app.core import ids
from app.core.problem import Problem
from app.core.wire.envelope import rfc3339
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route

api = Blueprint("portal_links", __name__)

OPEN_PATH = "/portal/open"
SCOPES = Field(
    "scopes",
    "texts",
    "what the customer may do: manage endpoints, operate the delivery log, subscribe to streams (watch them live);"
    " none that this key lacks; left out: manage and operate, as far as this key has them",
    choices=portal.SCOPES,
    least=1,
    most=len(portal.SCOPES),
    example=["manage", "operate"],
)


@route(
    api,
    "POST",
    "/v1/portal-links",
    scope="manage",
    body=(SCOPES,),
    answers={201: "CreatedPortalLink"},
    summary="Make a link that lets a customer into the portal of this workspace: it opens once, within minutes",
)
def create_portal_link(call: Call) -> Answer:
    wanted = call.body.get("scopes")
    beyond = set(wanted or ()) - call.caller.scopes
    if beyond:
        listed = ", ".join(sorted(beyond))
        raise Problem("forbidden", f"A link cannot allow what its key may not do; this key lacks {listed}.")
    settings = call.engine.settings
    scopes = wanted or [scope for scope in portal.DEFAULT_SCOPES if scope in call.caller.scopes]
    made = portal.make_link(
        call.session.connection(),
        workspace_id=call.workspace_id,
        key_id=call.caller.key_id,
        scopes=scopes,
        life_seconds=settings.portal_link_seconds,
    )
    return Answer(
        {
            "id": made.id,
            "url": f"{settings.public_url}{OPEN_PATH}?{urlencode({'token': made.token})}",
            "scopes": [scope for scope in portal.SCOPES if scope in scopes],
            "created_at": rfc3339(made.created_at),
            "expires_at": rfc3339(made.expires_at),
        },
        201,
    )


@route(
    api,
    "GET",
    "/v1/portal-links",
    scope="manage",
    query=paging.PAGE,
    answers={200: "PortalLinkList"},
    summary="List links to the portal that are not revoked, newest first; those whose time is over go after two days",
)
def list_portal_links(call: Call) -> Answer:
    read = partial(portal.list_links, call.session.connection(), call.workspace_id)
    return Answer(paging.newest_first(call.args, ids.PORTAL_LINK, read, _shown))


@route(
    api,
    "DELETE",
    "/v1/portal-links/{link_id}",
    scope="manage",
    answers={204: ""},
    summary="Revoke a link to the portal; whoever is in the portal by it is out at once",
)
def revoke_portal_link(call: Call, link_id: str) -> Answer:
    portal.revoke_link(call.session.connection(), call.workspace_id, link_id)
    return Answer(None, 204)


def _shown(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "scopes": row.scopes,
        "created_at": rfc3339(row.created_at),
        "expires_at": rfc3339(row.expires_at),
        "opened_at": None if row.opened_at is None else rfc3339(row.opened_at),
    }
