"""Into the portal by a link, and out; the style of its pages; its answer for a path that it does not have."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from app.accounts import portal
from app.core.problem import Problem
from app.web.pages.console import answers
from app.web.pages.portal import colours, cookie
from app.web.pages.portal.visit import FOLDER, HOME, PortalVisit, portal_page

api = Blueprint("portal_entrance", __name__)

OPEN = "/portal/open"
_OVER = "This link has been opened before, or its time is over. Ask for a new one where you found it."


@portal_page(api, "GET", OPEN, why="whoever comes by a link is not in yet")
def ask_to_open(visit: PortalVisit) -> Response:
    """A form rather than the way in: programs that look at links in messages would use them up. It says whose portal it
    opens: somebody who is sent another's link must not take that for their own, and enter there what is theirs."""
    token = visit.args.get("token", "")
    with visit.read() as connection:
        workspace = portal.look_at_link(connection, token)
    elsewhere = visit.visitor is not None and workspace is not None and visit.workspace_id != workspace.id
    values: dict[str, Any] = {"token": token, "workspace": workspace, "elsewhere": elsewhere, "over": _OVER}
    return answers.html("open.html", folder=FOLDER, **visit.frame(), **values)


@portal_page(api, "POST", OPEN, why="the link's token is the credential")
def open_portal(visit: PortalVisit) -> Response:
    settings = visit.engine.settings
    with visit.act() as session:
        connection = session.connection()
        opened = portal.open_link(connection, visit.form.get("token", ""), life_seconds=settings.portal_session_seconds)
        if opened is None:
            raise Problem("unauthorized", _OVER)
        session_id, expires_at = opened
        if visit.visitor is not None:
            portal.end_session(connection, visit.visitor.session_id)
        visit.visitor = portal.read_session(connection, session_id)
        visit.note(session, "portal.open", visit.guest.link_id)
    response = answers.redirect(HOME)
    cookie.set_cookie(response, settings, cookie.session_cookie(settings, session_id, expires_at))
    return response


@portal_page(api, "POST", "/portal/leave")
def leave(visit: PortalVisit) -> Response:
    with visit.act() as session:
        portal.end_session(session.connection(), visit.guest.session_id)
        visit.note(session, "portal.leave", visit.guest.link_id)
    visit.visitor = None
    response = answers.html("left.html", folder=FOLDER, **visit.frame())
    cookie.clear_cookie(response, visit.engine.settings)
    return response


@portal_page(api, "GET", "/portal/theme.css", why="a style sheet: the operator's colour")
def theme(visit: PortalVisit) -> Response:
    response = Response(colours.theme(visit.engine.settings.portal_accent), content_type="text/css; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    return response


@portal_page(api, "GET", "/portal/{path:anything}")
def no_such_page(visit: PortalVisit, anything: str) -> Response:
    raise Problem("not_found", "There is no such page.")
