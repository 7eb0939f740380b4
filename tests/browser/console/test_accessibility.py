"""Every page of the console: legible, named, in order and reached by the keyboard; in light, dark and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium, Page
from tests.browser.console.accessibility import faults, press, tab_through
from tests.browser.console.conftest import Office
from tests.processes import eventually

PHONE = (390, 844)


def consumed(office: Office) -> str:
    """A workspace whose feed a consumer reads."""
    office.ask("acme", "PUT", "/v1/feed/consumers/billing", {"types": ["call.*"]})
    return office.workspaces["acme"]


def stopped(office: Office) -> str:
    """A workspace of which a stream stands still, and goes on to do so when its first delivery is skipped."""
    for _ in range(3):
        office.publish("line", "queue")
    path = f"/v1/endpoints/{office.endpoints['line']}/lanes"
    eventually(lambda: office.ask("line", "GET", path)["data"][0]["head"]["attempt_count"], 30, about="an attempt")
    return office.workspaces["line"]


DESK = (1280, 900)
PAGES: dict[str, Callable[[Office], str]] = {
    "overview": lambda office: "/console?span=24h",
    "deliveries": lambda office: "/console/deliveries",
    "deliveries-narrowed": lambda office: "/console/deliveries?class=5xx&status=lost",
    "delivery": lambda office: (
        "/console/deliveries/" + office.delivery("acme", office.publish("acme", "seen", text="hello"), "shop")["id"]
    ),
    "events": lambda office: "/console/events",
    "event": lambda office: f"/console/events/{office.publish('acme', 'seen', text='hello')}",
    "feed": lambda office: f"/console/feed/{office.workspaces['acme']}?kind=call,a b",
    "feed-choice": lambda office: "/console/feed",
    "consumers": lambda office: f"/console/feed/{consumed(office)}/consumers",
    "lanes": lambda office: f"/console/lanes?workspace={stopped(office)}",
    "lanes-none": lambda office: f"/console/lanes?workspace={office.workspaces['quiet']}",
    "endpoint-lanes": lambda office: f"/console/endpoints/{office.endpoints['line']}/lanes?{stopped(office)}",
    "endpoints": lambda office: "/console/endpoints",
    "endpoint": lambda office: f"/console/endpoints/{office.endpoints['shop']}",
    "endpoint-new": lambda office: f"/console/endpoints/new?workspace={office.workspaces['acme']}",
    "endpoint-form": lambda office: f"/console/endpoints/{office.endpoints['shop']}/edit",
    "streams": lambda office: "/console/streams",
    "stream": lambda office: f"/console/streams/{office.workspaces['acme']}/call/seen",
    "customers": lambda office: "/console/workspaces",
    "customer": lambda office: f"/console/workspaces/{office.workspaces['acme']}",
    "keys": lambda office: f"/console/keys?workspace={office.workspaces['acme']}",
    "users": lambda office: "/console/users",
    "audit": lambda office: "/console/audit",
    "bulk-retries": lambda office: "/console/bulk-retries",
    "bulk-retry-new": lambda office: "/console/bulk-retries/new?status=failed",
    "bulk-retry": lambda office: (
        f"/console/bulk-retries/{office.ask('quiet', 'POST', '/v1/bulk-retries', {'status': 'failed'})['id']}"
    ),
    "connections": lambda office: "/console/connections",
    "search": lambda office: "/console/search?q=nothing",
    "error": lambda office: "/console/nothing",
    "front": lambda office: "/",
}


@pytest.fixture(autouse=True)
def _rows(office: Office) -> None:
    office.publish("acme", "seen", text="hello")


def open_page(chromium: Chromium, office: Office, name: str) -> Page:
    return office.open(chromium, PAGES[name](office), width=DESK[0], height=DESK[1])


@pytest.mark.parametrize("name", PAGES)
def test_no_fault_is_found_whatever_the_light_and_the_width(
    chromium: Chromium, office: Office, pictures: Path, name: str
) -> None:
    page = open_page(chromium, office, name)
    for look, (width, height), dark in (("light", DESK, False), ("dark", DESK, True), ("phone", PHONE, False)):
        page.look_like(width, height, dark)
        page.picture(pictures / f"{name}-{look}.png")
        assert faults(page) == [], look
        wide = page.run("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 1, f"{look}: {wide} pixels too wide"
    assert [one for one in page.problems if "404" not in one] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_reaches_everything_and_the_focus_is_seen(chromium: Chromium, office: Office, name: str) -> None:
    page = open_page(chromium, office, name)
    reached = tab_through(page)
    assert 'class="skip"' in reached[0]
    controls = page.run(
        "[...document.querySelectorAll('a[href], button:not(:disabled), input:not([type=hidden]), select, summary')]"
        ".filter((it) => it.checkVisibility()).map((it) => it.outerHTML.slice(0, 150))"
    )
    assert set(controls) <= set(reached)
    assert [one for one in reached if one in controls] == controls


def test_the_way_past_the_navigation_leads_to_the_content(chromium: Chromium, office: Office) -> None:
    page = open_page(chromium, office, "deliveries")
    press(page, "Tab", 9)
    assert page.text(":focus") == "Skip to the content"
    press(page, "Enter", 13, "\r")
    page.wait_for("document.activeElement.id === 'main'")


def test_the_checker_finds_what_it_is_for(chromium: Chromium, office: Office) -> None:
    page = open_page(chromium, office, "error")
    page.run("""document.querySelector('main').insertAdjacentHTML('beforeend', `
      <h4>deep</h4><button></button><input><img src=x><p class=small id=faint>faint words</p><i id=main></i>
      <a href=x tabindex=-1>lost</a><a href=x tabindex=3>first</a><svg width=9 height=9></svg>
      <ol role=log><li>told</li></ol>`)""")
    page.run("Object.assign(document.getElementById('faint').style, { color: '#aaa', background: '#fff' })")
    found = " ".join(faults(page))
    for words in (
        "heading skips a level",
        "without a name: <button>",
        "without a label: <input>",
        "image without alt",
        "contrast 2.32",
        "the id main is there twice",
        "not reached by the keyboard",
        "disturbs the order",
        "chart without a name",
        "not in a list: <li>told",
    ):
        assert words in found
