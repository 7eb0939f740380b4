"""What people come for, done without a mouse: by Tab, letters, Space and Enter."""

from __future__ import annotations

from tests.browser.chromium import Chromium, Page
from tests.browser.console.accessibility import REACHABLE, press
from tests.browser.console.conftest import Office
from tests.browser.console.test_tasks import shows, there

# Questions of a page block the browser's protocol: they are answered in the page, and what was asked is kept.
AGREE = "window.confirm = (words) => { window.asked = words; return true; }"


def tab_to(page: Page, selector: str) -> None:
    """Tab until the focus is on the element."""
    for _ in range(int(page.run(REACHABLE)) + 20):
        press(page, "Tab", 9)
        if page.run(f"!!document.activeElement?.matches({selector!r})"):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def enter(page: Page) -> None:
    press(page, "Enter", 13, "\r")


def write(page: Page, text: str) -> None:
    page.tell("Input.insertText", text=text)


def test_an_endpoint_is_added_changed_and_deleted(chromium: Chromium, office: Office) -> None:
    page = office.open(chromium, "/console")
    tab_to(page, 'nav a[href="/console/endpoints"]')
    enter(page)
    there(page, "location.pathname === '/console/endpoints'")
    tab_to(page, 'a[href="/console/endpoints/new"]')
    enter(page)
    there(page, "location.pathname === '/console/endpoints/new'")
    tab_to(page, "#workspace")
    press(page, "a", 65, "a")  # for Acme
    tab_to(page, "#url")
    write(page, "http://127.0.0.1:9/keys")
    tab_to(page, "#content_filter")
    write(page, '{"path": "/amount", "over": 9}')
    tab_to(page, "main button[type=submit]")
    enter(page)
    shows(page, "#content_filter-wrong", "over: unknown; a path is tested with")
    tab_to(page, "#content_filter")
    page.run("document.activeElement.select()")
    write(page, '{"path": "/amount", "gte": 9}')
    tab_to(page, "main button[type=submit]")
    enter(page)
    shows(page, ".secret", "whsec_")
    tab_to(page, 'a[href$="/edit"]')
    enter(page)
    there(page, "location.pathname.endsWith('/edit')")
    assert page.run("document.getElementById('content_filter').value") == '{\n  "path": "/amount",\n  "gte": 9\n}'
    tab_to(page, "#description")
    write(page, "made by keys")
    enter(page)
    shows(page, "[role=status]", "The endpoint is saved.")
    page.run(AGREE)
    tab_to(page, 'form[action$="/delete"] button')
    enter(page)
    shows(page, "[role=status]", "The endpoint is deleted.")
    # The form that was refused is a page that says so to the browser, too.
    assert [one for one in page.problems if "422" not in one] == []


def test_the_log_is_narrowed_followed_and_a_delivery_retried(chromium: Chromium, office: Office) -> None:
    delivery = office.delivery("acme", office.publish("acme", "keyed"), "shop")
    page = office.open(chromium, "/console/deliveries")
    tab_to(page, "#stream")
    write(page, "keyed")
    enter(page)
    there(page, "location.search === '?stream=keyed'")
    tab_to(page, "#switch")
    press(page, " ", 32, " ")
    shows(page, "#tail-state", "Live: attempts appear")
    press(page, " ", 32, " ")
    shows(page, "#tail-state", "Stopped")
    tab_to(page, f'#rows a[href$="{delivery["id"]}"]')
    enter(page)
    there(page, f"location.pathname.endsWith('{delivery['id']}')")
    tab_to(page, 'form[action$="/retry"] button')
    enter(page)
    shows(page, "[role=status]", "attempted again now")
    assert page.problems == []


def test_a_customer_sends_a_test_of_a_type_of_their_own(chromium: Chromium, office: Office) -> None:
    office.ask("acme", "PUT", "/v1/event-types/zone.entered", {"example": {"zone": "north"}})
    page = office.enter(chromium, "manage", "operate")
    tab_to(page, f'a[href="/portal/endpoints/{office.endpoints["books"]}"]')
    enter(page)
    there(page, "location.pathname.startsWith('/portal/endpoints/ep_')")
    tab_to(page, "#type")
    press(page, "z", 90, "z")
    tab_to(page, 'form[action$="/test"] button')
    enter(page)
    shows(page, "[role=status]", "A test event is on its way")
    rows = office.ask("acme", "GET", "/v1/deliveries?event_type=zone.entered")["data"]
    assert [row["endpoint_id"] for row in rows] == [office.endpoints["books"]]
    assert page.problems == []
