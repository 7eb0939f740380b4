"""The feed, its consumers and lanes, as an operator works with them in a browser."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.browser.chromium import Chromium
from tests.browser.console.accessibility import press
from tests.browser.console.conftest import Office
from tests.browser.console.test_accessibility import consumed, stopped
from tests.browser.console.test_keyboard import AGREE, enter, tab_to, write
from tests.browser.console.test_tasks import shows, there

COUNT = "document.querySelectorAll('#events > li').length"


def test_the_feed_is_chosen_followed_stopped_and_gone_on_with(
    chromium: Chromium, office: Office, pictures: Path
) -> None:
    office.publish("acme", "feed-1", "call.fed", n=1)
    page = office.open(chromium, "/console")
    page.click('nav a[href="/console/feed"]')
    there(page, "location.pathname === '/console/feed'")
    page.run(f"document.getElementById('workspace').value = '{office.workspaces['acme']}'")
    page.click("form.filters button")
    there(page, "location.pathname.startsWith('/console/feed/ws_')")
    page.type("#stream", "call/feed-1, call/feed-2")
    there(page, f"location.search.includes('stream=') && {COUNT} === 1")
    shows(page, "#follow-state", "live")
    office.publish("acme", "feed-2", "call.fed", n=2)
    office.publish("acme", "feed-3", "call.fed")
    page.wait_for(f"{COUNT} === 2")
    assert "call/feed-2" in page.text("#events > li:last-child")
    page.click("#switch")
    shows(page, "#follow-state", "stopped")
    office.publish("acme", "feed-1", "call.fed", n=3)
    page.click("#switch")
    page.wait_for(f"{COUNT} === 3")  # what came meanwhile is not missed
    page.picture(pictures / "feed-live.png")
    page.run("document.querySelector('#events > li:last-child .small a').click()")
    there(page, "location.pathname.endsWith('/call/feed-1')")
    assert page.problems == []


def test_a_view_that_is_cut_goes_on_without_a_gap(chromium: Chromium, office: Office) -> None:
    page = office.open(chromium, f"/console/feed/{office.workspaces['quiet']}?kind=call")
    shows(page, "#follow-state", "live")
    before = page.run(COUNT)
    office.server.web.send_signal(signal.SIGHUP)  # the web process is replaced, and closes every view
    page.wait(lambda: len(page.asked("/live?kind=call")) >= 2, 30, about="another connection")
    for number in range(5):
        office.publish("quiet", "cut", "call.fed", n=number)
    page.wait_for(f"{COUNT} === {before + 5}", 20)
    data = page.run("[...document.querySelectorAll('#events pre')].slice(-5).map((it) => it.textContent)")
    assert data == [f'{{"n":{number}}}' for number in range(5)]


def test_a_consumer_is_moved_and_forgotten_by_keyboard(chromium: Chromium, office: Office, pictures: Path) -> None:
    page = office.open(chromium, f"/console/feed/{consumed(office)}/consumers")
    page.run(AGREE)
    page.picture(pictures / "consumers-behind.png")
    tab_to(page, 'input[name="to"]')
    write(page, "latest")
    enter(page)
    shows(page, "[role=status]", "The consumer goes on from there.")
    assert "nothing" in page.text("td[data-label=Behind]")
    page.run(AGREE)
    tab_to(page, 'form[action$="/billing/delete"] button')
    press(page, " ", 32, " ")
    shows(page, "[role=status]", "The consumer is forgotten.")
    shows(page, ".empty", "No consumers.")
    assert page.problems == []


def test_a_lane_is_retried_and_skipped_after_the_page_has_renewed_itself(
    chromium: Chromium, office: Office, pictures: Path
) -> None:
    page = office.open(chromium, f"/console/lanes?workspace={stopped(office)}")
    assert "HTTP error 500" in page.text("#fresh table")
    page.picture(pictures / "lanes-stopped.png")
    page.click('form[action$="/retry"] button')
    shows(page, "[role=status]", "attempted again now")
    page.run(AGREE)
    page.run("document.getElementById('fresh').dataset.old = 'yes'")
    page.wait_for("document.getElementById('fresh').dataset.old === undefined", 25)
    page.wait_for("document.querySelector('form[action$=\"/skip\"]')", 25)
    page.run("document.querySelector('form[action$=\"/skip\"] button').click()")
    shows(page, "[role=status]", "The stream goes on without that delivery")
    assert page.problems == []


def test_an_endpoint_is_made_to_keep_order(chromium: Chromium, office: Office) -> None:
    page = office.open(chromium, f"/console/endpoints/{office.endpoints['bots']}/edit")
    tab_to(page, "#order")
    press(page, " ", 32, " ")
    tab_to(page, "#order_patience_seconds")
    write(page, "600")
    enter(page)
    shows(page, "[role=status]", "The endpoint is saved.")
    assert "each stream's events one after the other; one that fails holds the others up for 10 min" in page.text(
        "main"
    )
    body = {"order": None, "order_patience_seconds": None}
    office.ask("acme", "PATCH", f"/v1/endpoints/{office.endpoints['bots']}", body)
    assert page.problems == []
