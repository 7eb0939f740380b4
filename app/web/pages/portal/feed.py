"""A customer's feed and who keeps a place in it, where the link allows to subscribe."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.accounts import portal
from app.accounts.portal import SUBSCRIBE
from app.web.live.feed import show_feed
from app.web.live.opening import client_socket
from app.web.live.sse import Unanswered
from app.web.pages import consumer_rows, feed_page
from app.web.pages.portal.visit import PortalVisit, portal_page

api = Blueprint("portal_feed", __name__)


@portal_page(api, "GET", "/portal/feed", scope=SUBSCRIBE)
def feed(visit: PortalVisit) -> Response:
    asked = feed_page.asked_of(request.args)
    shown = feed_page.read_page(visit.engine, visit.read, visit.workspace_id, asked)
    return visit.show("feed.html", asked=asked, shown=shown, api=visit.engine.settings.public_url)


@portal_page(api, "GET", "/portal/feed/live", scope=SUBSCRIBE)
def watch_feed(visit: PortalVisit) -> Response:
    sock = client_socket()
    if visit.engine.hub.stopping:
        return Unanswered()
    wanted, last = feed_page.asked_of(request.args).wanted, request.headers.get("Last-Event-ID")
    return show_feed(visit.engine, GuestsWatch(visit), sock, wanted, "latest", last)


@portal_page(api, "GET", "/portal/feed/consumers", scope=SUBSCRIBE)
def consumer_list(visit: PortalVisit) -> Response:
    found = consumer_rows.read_page(visit.engine, visit.workspace_id, visit.args.get("after"))
    return visit.show("consumers.html", found=found)


class GuestsWatch:
    """A customer watches, as long as their session goes on."""

    def __init__(self, visit: PortalVisit) -> None:
        self._database, self._session_id = visit.engine.guests, visit.guest.session_id
        self.workspace_id, self.owner_id = visit.workspace_id, visit.guest.key_id
        self.life_seconds: float | None = visit.guest.life_seconds

    def may_see(self) -> bool:
        """Whether the session goes on."""
        with self._database.begin() as connection:
            return portal.read_session(connection, self._session_id) is not None
