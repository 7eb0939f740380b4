"""A customer's feed and who keeps a place in it, where the link allows to subscribe."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.accounts.portal import SUBSCRIBE
from app.web.live.feed import Watch, show_feed
from app.web.live.opening import client_socket
from app.web.live.sse import Unanswered
from app.web.pages import consumer_rows, feed_page
from app.web.pages.portal.visit import PortalVisit, portal_page, still_signed_in

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
    watch = Watch(visit.workspace_id, visit.guest.key_id, still_signed_in(visit), visit.guest.life_seconds)
    return show_feed(visit.engine, watch, sock, wanted, "latest", last)


@portal_page(api, "GET", "/portal/feed/consumers", scope=SUBSCRIBE)
def consumer_list(visit: PortalVisit) -> Response:
    found = consumer_rows.read_page(visit.engine, visit.workspace_id, visit.args.get("after"))
    return visit.show("consumers.html", found=found)
