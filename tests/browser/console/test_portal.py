"""What a customer comes to the portal for, done in a browser; every page legible and reached by the keyboard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.browser.console.accessibility import faults, tab_through
from tests.browser.console.conftest import Office
from tests.browser.console.test_accessibility import DESK, PHONE, consumed, stopped
from tests.browser.console.test_tasks import shows, there

ALL = ("manage", "operate", "subscribe")
PAGES: dict[str, Callable[[Office], str]] = {
    "endpoints": lambda office: "/portal/endpoints",
    "endpoint": lambda office: f"/portal/endpoints/{office.endpoints['shop']}",
    "new-endpoint": lambda office: "/portal/endpoints/new",
    "endpoint-form": lambda office: f"/portal/endpoints/{office.endpoints['shop']}/edit",
    "feed": lambda office: "/portal/feed",
    "consumers": lambda office: f"/portal/feed/consumers?{consumed(office)}",
    "lanes": lambda office: "/portal/lanes",
    "endpoint-lanes": lambda office: f"/portal/endpoints/{office.endpoints['shop']}/lanes",
    "types": lambda office: "/portal/types",
    "deliveries": lambda office: "/portal/deliveries",
    "delivery": lambda office: (
        "/portal/deliveries/" + office.delivery("acme", office.publish("acme", "seen", text="hello"), "shop")["id"]
    ),
    "streams": lambda office: "/portal/streams",
    "stream": lambda office: "/portal/streams/call/seen",
    "error": lambda office: "/portal/nothing",
}


@pytest.mark.parametrize("name", PAGES)
def test_no_fault_is_found_and_the_keyboard_reaches_everything(
    chromium: Chromium, office: Office, pictures: Path, name: str
) -> None:
    office.publish("acme", "seen", text="hello")
    page = office.enter(chromium, *ALL, width=DESK[0], height=DESK[1])
    page.go(office.server.base_url + PAGES[name](office))
    for look, (width, height), dark in (("light", DESK, False), ("dark", DESK, True), ("phone", PHONE, False)):
        page.look_like(width, height, dark)
        page.picture(pictures / f"portal-{name}-{look}.png")
        assert faults(page) == [], look
        wide = page.run("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 1, f"{look}: {wide} pixels too wide"
    page.look_like(*DESK, False)
    reached = tab_through(page)
    controls = page.run(
        "[...document.querySelectorAll('a[href], button:not(:disabled), input:not([type=hidden]), select, textarea')]"
        ".filter((it) => it.checkVisibility()).map((it) => it.outerHTML.slice(0, 150))"
    )
    assert set(controls) <= set(reached)
    assert [one for one in page.problems if "404" not in one] == []


def test_an_endpoint_is_added_tested_and_its_delivery_seen(chromium: Chromium, office: Office, pictures: Path) -> None:
    page = office.enter(chromium, *ALL, height=1000)
    page.click('.head a[href="/portal/endpoints/new"]')
    there(page, "location.pathname === '/portal/endpoints/new'")
    page.run("document.getElementById('event_types').value = 'nothing.else'")
    url = office.ask("acme", "GET", f"/v1/endpoints/{office.endpoints['books']}")["url"] + "/portal"
    page.type("#url", url)
    shows(page, ".secret", "whsec_")
    page.picture(pictures / "portal-secret.png")
    page.run("document.getElementById('type').value = 'call.started'")
    page.click('form[action$="/test"] button')
    shows(page, "[role=status]", "A test event is on its way")
    page.go(page.run("location.href.split('?')[0]"))

    def arrived() -> bool:
        page.go(page.run("location.href"))
        return bool(page.run("document.querySelector('td .state.delivered') !== null"))

    page.wait(arrived, 30, about="the test's delivery")
    page.click("section[aria-label='Last deliveries'] td a")
    there(page, "location.pathname.startsWith('/portal/deliveries/')")
    assert "Delivered" in page.text(".timeline")
    assert page.problems == []
    made = page.run("document.querySelector('.head a[href^=\"/portal/endpoints/\"]').pathname").rpartition("/")[2]
    office.ask("acme", "DELETE", f"/v1/endpoints/{made}")


def test_log_and_stream_are_followed_live_and_end_with_the_link(chromium: Chromium, office: Office) -> None:
    page = office.enter(chromium, *ALL)
    page.go(f"{office.server.base_url}/portal/deliveries?endpoint={office.endpoints['books']}")
    page.click("#switch")
    shows(page, "#tail-state", "Live: attempts appear")
    delivery = office.delivery("acme", office.publish("acme", "portal", "call.tailed"), "books")
    there(page, f'document.querySelector(\'tr[data-id="{delivery["id"]}"] a[href^="/portal/deliveries/"]\')')
    page.go(f"{office.server.base_url}/portal/streams/call/portal")
    shows(page, "#follow-state", "live")
    office.publish("acme", "portal", "own.type", n=1)
    page.wait_for("document.querySelectorAll('#events > li').length === 2")
    (link, *_) = office.ask("acme", "GET", "/v1/portal-links")["data"]
    office.ask("acme", "DELETE", f"/v1/portal-links/{link['id']}")
    shows(page, "#follow-state", "not let in", 40)


def test_a_lane_that_stands_still_is_skipped_by_the_customer(
    chromium: Chromium, office: Office, pictures: Path
) -> None:
    stopped(office)
    page = office.enter(chromium, *ALL, workspace="line")
    page.click('nav a[href="/portal/lanes"]')
    there(page, "location.pathname === '/portal/lanes' && document.querySelector('.state.failing')")
    assert "HTTP error 500" in page.text("#fresh table")
    page.picture(pictures / "portal-lanes-stopped.png")
    page.run("window.confirm = () => true")
    page.click('form[action$="/skip"] button')
    shows(page, "[role=status]", "The stream goes on without that delivery")
    there(page, "document.querySelector('#fresh td[data-label=Endpoint] a')")  # with the next one's first attempt
    page.click("#fresh td[data-label=Endpoint] a")
    there(page, "location.pathname.endsWith('/lanes') && document.querySelector('h1').innerText === 'Lanes'")
    assert page.problems == []


def test_the_feed_is_followed_by_the_customer(chromium: Chromium, office: Office) -> None:
    page = office.enter(chromium, "subscribe")
    page.go(f"{office.server.base_url}/portal/feed?stream=call/portal-feed")
    shows(page, "#follow-state", "live")
    office.publish("acme", "portal-feed", "call.fed", n=1.5)
    office.publish("acme", "other-feed", "call.fed")
    office.publish("acme", "portal-feed", "call.fed", n=2)
    page.wait_for("document.querySelectorAll('#events > li').length === 2")
    assert page.text("#events").count("call/portal-feed") == 2
    assert page.problems == []


def test_a_bulk_retry_is_counted_ordered_and_watched_to_its_end(
    chromium: Chromium, office: Office, pictures: Path
) -> None:
    event = office.yesterday("acme", "call.ordered", "books")
    page = office.open(chromium, "/console/deliveries?status=failed")
    page.click('.head a[href^="/console/bulk-retries/new"]')
    there(page, "location.pathname === '/console/bulk-retries/new'")
    page.type("#endpoint", office.endpoints["books"])
    shows(page, "#count", "1 delivery to 1 endpoint")
    page.picture(pictures / "bulk-count.png")
    page.click('form[action="/console/bulk-retries"] button')
    there(page, "location.pathname.startsWith('/console/bulk-retries/blk_')")
    shows(page, "#fresh .state", "finished", 40)
    page.picture(pictures / "bulk-finished.png")
    assert page.text("#far") == "1 of 1 attempted again"
    assert page.problems == []
    done = office.ask("acme", "GET", f"/v1/events/{event}/deliveries")["data"]
    assert [row["status"] for row in done] in (["delivered"], ["pending"])


def test_outside_a_frame_a_link_waits_for_a_click(chromium: Chromium, office: Office) -> None:
    link = office.ask("acme", "POST", "/v1/portal-links")
    page = chromium.page(link["url"])
    page.wait_for("document.readyState === 'complete'")
    assert "Acme" in page.text("#main, main")
    assert page.run("location.pathname") == "/portal/open"
    (made, *_) = office.ask("acme", "GET", "/v1/portal-links")["data"]
    assert (made["id"], made["opened_at"]) == (link["id"], None)
    page.click("#open button")
    there(page, "location.pathname === '/portal/endpoints'")


@contextmanager
def hosting(port: int, link: str) -> Iterator[str]:
    """A page of a customer's own site, which shows the portal in a frame; its address."""

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<h1>Our app</h1><iframe src="{link}" width="1000" height="640"></iframe>'.encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{port}/"
    server.shutdown()
    server.server_close()


def test_in_a_frame_of_a_named_site_everything_works_and_elsewhere_nothing_is_shown(
    chromium: Chromium, office: Office, pictures: Path
) -> None:
    link = office.ask("acme", "POST", "/v1/portal-links")["url"]
    with hosting(office.host_port, link) as host:
        outside = chromium.page(host, width=1060, height=780)
        page = chromium.frame("/portal/")
        page.wait_for("location.pathname === '/portal/endpoints' && document.readyState === 'complete'")
        outside.picture(pictures / "portal-frame.png")
        page.go(f"{office.server.base_url}/portal/endpoints/{office.endpoints['bots']}")
        pause = "document.querySelector('form[action$=\"/state\"] button').click()"
        page.run(pause)
        shows(page, "[role=alert]", "What is pending for it is cancelled. Press the button once more to do it.")
        assert office.ask("acme", "GET", f"/v1/endpoints/{office.endpoints['bots']}")["status"] == "enabled"
        page.run(pause)
        shows(page, "[role=status]", "The endpoint is paused.")
        page.run("document.querySelector('form[action$=\"/state\"] button').click()")
        shows(page, "[role=status]", "The endpoint is enabled.")
        assert page.problems == []
        stranger = chromium.page(host.replace("localhost", "127.0.0.1"))
        stranger.wait(lambda: any("frame-ancestors" in one for one in stranger.problems), about="the refusal")
