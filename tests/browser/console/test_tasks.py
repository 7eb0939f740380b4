"""What people come to the console for, done in a browser, in few clicks and by keyboard alone."""

from __future__ import annotations

from pathlib import Path

from app.accounts import users
from tests.browser.chromium import Chromium, Page
from tests.browser.console.accessibility import press
from tests.browser.console.conftest import PASSWORD, Office


class Clicks:
    """A page whose clicks on links and buttons are counted."""

    def __init__(self, page: Page) -> None:
        self.page, self.count = page, 0

    def on(self, selector: str, leads_to: str) -> None:
        """Click, and wait for the page that it leads to."""
        self.count += 1
        self.page.run(f"document.querySelector({selector!r}).scrollIntoView({{ block: 'center' }})")
        self.page.click(selector)
        self.page.wait_for(f"location.pathname.startsWith({leads_to!r}) && document.readyState === 'complete'")


def there(page: Page, condition: str) -> None:
    """Wait for a loaded page of which this holds."""
    page.wait_for(f"document.readyState === 'complete' && !!({condition})")


def shows(page: Page, selector: str, words: str, seconds: float = 15.0) -> None:
    """Wait for these words in an element, which may not be there yet."""
    script = f"(document.querySelector({selector!r})?.innerText ?? '').includes({words!r})"
    page.wait_for(script, seconds)


def reasons(page: Page) -> dict[str, str]:
    """The event page's table: code to sentence."""
    rows = page.run(
        "[...document.querySelectorAll('#reasons tr[data-code]')].map((it) => [it.dataset.code, it.cells[2].innerText])"
    )
    return dict(rows)


def test_a_person_signs_in_with_the_keyboard_and_out(chromium: Chromium, office: Office, pictures: Path) -> None:
    page = chromium.page(f"{office.server.base_url}/static/icon.svg")
    page.tell("Network.clearBrowserCookies")  # those of other tests' people
    page.go(f"{office.server.base_url}/console/keys")
    assert page.run("location.pathname + location.search") == "/console/sign-in?next=%2Fconsole%2Fkeys"
    page.tell("Input.insertText", text="ana")
    press(page, "Tab", 9)
    page.type("#password", "not my password")
    shows(page, "#wrong", "The name or the password is wrong.")
    page.picture(pictures / "sign-in.png")
    page.type("#password", PASSWORD)
    there(page, "location.pathname === '/console/keys'")
    assert page.text("h1") == "Keys"
    page.click(".me button")
    there(page, "location.search === '?done=signed-out'")
    page.go(f"{office.server.base_url}/console/keys")
    assert page.run("location.pathname") == "/console/sign-in"


def test_why_an_event_of_yesterday_failed_takes_two_clicks_from_the_overview(
    chromium: Chromium, office: Office, pictures: Path
) -> None:
    event = office.yesterday("acme", "call.ordered", "shop")
    page = office.open(chromium, "/console?span=24h")
    clicks = Clicks(page)
    clicks.on(f'section[aria-labelledby=bad] a[href$="{office.workspaces["acme"]}"]', "/console/workspaces/")
    clicks.on(f'a[href="/console/events/{event}"]', "/console/events/")
    found = reasons(page)
    assert "after 11 attempts until the deadline" in found["exhausted"]
    assert "registered_later" in found
    assert clicks.count <= 3
    assert page.problems == []
    page.picture(pictures / "why.png")


def test_why_an_event_of_a_customer_without_trouble_did_not_come_takes_two_clicks(
    chromium: Chromium, office: Office
) -> None:
    event = office.yesterday("quiet", "bot.joined", None)
    page = office.open(chromium, "/console")
    clicks = Clicks(page)
    page.type("#q", "quiet")
    there(page, f"location.pathname === '/console/workspaces/{office.workspaces['quiet']}'")
    clicks.on("nav[aria-label=Day] a:nth-child(2)", "/console/workspaces/")
    there(page, "location.search.startsWith('?day=')")
    clicks.on(f'a[href="/console/events/{event}"]', "/console/events/")
    assert "registered_later" in reasons(page)
    assert clicks.count <= 3


def test_what_fails_now_is_on_the_overview_without_a_click(chromium: Chromium, office: Office, pictures: Path) -> None:
    office.delivery("acme", office.publish("acme", "now"), "shop")
    page = office.open(chromium, "/console", person="vic")
    there(page, "document.querySelector('td .state.failing')")
    assert office.endpoints["shop"] in page.run("document.querySelector('#fresh table').innerHTML")
    assert "HTTP error 500" in page.text("#fresh table")
    assert page.problems == []


def test_the_overview_renews_itself_and_leaves_the_focus_alone(chromium: Chromium, office: Office) -> None:
    page = office.open(chromium, "/console")
    page.run("document.getElementById('fresh').dataset.old = 'yes'")
    page.wait_for("document.getElementById('fresh').dataset.old === undefined", 25)
    assert page.problems == []


def test_a_delivery_is_retried_from_its_timeline(chromium: Chromium, office: Office, pictures: Path) -> None:
    delivery = office.delivery("acme", office.publish("acme", "retried"), "shop")
    page = office.open(chromium, f"/console/deliveries/{delivery['id']}", height=1200)
    before = page.run("document.querySelectorAll('.timeline li.wrong').length")
    assert "the shop is closed" in page.text(".timeline")
    assert page.run("document.getElementById('curl').textContent").startswith("curl -X POST http://127.0.0.1:")
    page.picture(pictures / "delivery.png")
    page.click(".head form button")
    shows(page, "[role=status]", "attempted again now")

    def more() -> bool:
        page.go(page.run("location.href"))
        return bool(page.run("document.querySelectorAll('.timeline li.wrong').length") > before)

    page.wait(more, 30, about="one attempt more")
    assert page.problems == []


def test_the_log_follows_live_what_fits_its_filters(chromium: Chromium, office: Office, pictures: Path) -> None:
    page = office.open(chromium, f"/console/deliveries?endpoint={office.endpoints['books']}")
    page.click("#switch")
    shows(page, "#tail-state", "Live: attempts appear")
    event = office.publish("acme", "tailed", "call.tailed")
    delivery = office.delivery("acme", event, "books")
    there(page, f"document.querySelector('tr[data-id=\"{delivery['id']}\"]')")
    row = page.text(f'tr[data-id="{delivery["id"]}"]')
    assert "call.tailed" in row
    assert "call/tailed" in row
    assert "1: success 200" in row
    assert page.run("[...document.querySelectorAll('tr[data-id] a')].some((it) => it.href.includes('ep_'))")
    rows = "[...document.querySelectorAll('tr[data-id]')]"
    assert page.run(f"{rows}.every((it) => it.innerHTML.includes('{office.endpoints['books']}'))")
    page.picture(pictures / "live-log.png")
    page.click("#switch")
    shows(page, "#tail-state", "Stopped after")
    assert page.problems == []


def test_a_stream_is_followed_and_an_ended_one_replayed(chromium: Chromium, office: Office, pictures: Path) -> None:
    office.publish("quiet", "followed", n=1)
    page = office.open(chromium, f"/console/streams/{office.workspaces['quiet']}/call/followed")
    shows(page, "#follow-state", "live")
    office.publish("quiet", "followed", "own.type", n=12345678901234567890)
    page.wait_for("document.querySelectorAll('#events > li').length === 2")
    assert '{"n":12345678901234567890}' in page.text("#events > li:last-child")
    page.picture(pictures / "stream.png")
    office.ask("quiet", "POST", "/v1/streams/call/followed/end")
    shows(page, "#follow-state", "ended", 20)
    page.go(page.run("location.href"))
    page.run("document.getElementById('speed').value = '100'")
    page.click("#replay")
    page.wait_for("document.querySelectorAll('#events > li').length === 2", 20)
    shows(page, "#follow-state", "ended", 20)
    assert page.problems == []


def test_filters_are_in_the_address_and_are_taken_away_one_by_one(chromium: Chromium, office: Office) -> None:
    office.delivery("acme", office.publish("acme", "filtered"), "shop")
    page = office.open(chromium, "/console/deliveries")
    page.run("document.getElementById('class').value = '5xx'")
    page.type("#type", "call.*")
    there(page, "location.search === '?type=call.*&class=5xx' && document.querySelectorAll('#rows tr').length > 0")
    page.click(".chips a")
    page.wait_for("['?class=5xx', '?type=call.%2A'].includes(location.search)")


def test_slash_leads_to_the_search_and_enter_to_the_thing(chromium: Chromium, office: Office) -> None:
    page = office.open(chromium, "/console/deliveries")
    press(page, "/", 191, "/")
    assert page.run("document.activeElement.id") == "q"
    page.type("#q", office.endpoints["shop"])
    page.wait_for(f"location.pathname === '/console/endpoints/{office.endpoints['shop']}'")


def test_without_scripts_every_page_still_shows_its_rows(chromium: Chromium, office: Office) -> None:
    office.delivery("acme", office.publish("acme", "plain"), "books")
    page = office.open(chromium, "/console")
    page.tell("Emulation.setScriptExecutionDisabled", value=True)
    for path in ("/console", "/console/deliveries", f"/console/streams/{office.workspaces['acme']}/call/plain"):
        page.go(office.server.base_url + path)
        shown = page.tell("DOM.getDocument", depth=-1)
        assert "Acme" in str(shown)


def test_who_watches_is_shown_and_can_be_disconnected(chromium: Chromium, office: Office, pictures: Path) -> None:
    office.publish("quiet", "counted")
    stream = office.open(chromium, f"/console/streams/{office.workspaces['quiet']}/call/counted")
    shows(stream, "#follow-state", "live")
    page = chromium.page(f"{office.server.base_url}/console/connections", width=1280, height=900)
    row = '[...document.querySelectorAll("#fresh tr")].find((it) => it.innerText.includes("call/counted"))'
    page.wait_for(f"!!{row}", 20)
    assert page.run(f"{row}.cells[1].innerText") == "Quiet"
    assert page.run(f"{row}.cells[3].innerText") == "SSE"
    assert "ends in" in page.run(f"{row}.cells[7].innerText")
    page.picture(pictures / "connections.png")
    connection = page.run(f"{row}.querySelector('form').action")
    page.run(f"{row}.querySelector('button').click()")
    shows(page, "[role=status]", "The connection ends within two seconds")
    page.wait_for(f"![...document.querySelectorAll('#fresh form')].some((it) => it.action === '{connection}')", 20)
    shows(stream, "#follow-state", "live", 20)
    assert page.problems == []


def test_live_views_end_with_the_session(chromium: Chromium, office: Office) -> None:
    log = office.open(chromium, "/console/deliveries", person="vic")
    log.click("#switch")
    shows(log, "#tail-state", "Live: attempts appear")
    office.publish("quiet", "watched")
    stream = chromium.page(f"{office.server.base_url}/console/streams/{office.workspaces['quiet']}/call/watched")
    shows(stream, "#follow-state", "live")
    with office.database.begin() as connection:
        users.end_sessions(connection, office.people["vic"].id)
    shows(log, "#tail-state", "The live view ended.", 30)
    shows(stream, "#follow-state", "not let in", 40)
