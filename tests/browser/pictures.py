"""The pictures of docs/img: every page in light, dark and on a phone, of a product with a plausible day behind it.

`make pictures` runs this; it is no test of its own and is not collected as one. Nothing is sent: no worker runs, and
what happened is written as the product would have written it.
"""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests

from app.accounts import audit, passwords, users
from app.accounts.users import OPERATOR, VIEWER
from app.core import ids
from app.database.connection import Database
from app.database.partitions import database_time
from app.local.embedded import EmbeddedRedis
from app.settings import Settings
from tests.browser.chromium import Chromium, Page
from tests.browser.console import history
from tests.browser.console.conftest import PASSWORD, Office
from tests.browser.console.history import Exchange
from tests.browser.console.test_tasks import shows, there
from tests.conftest import _servers
from tests.processes import ROOT

IMAGES = ROOT / "docs" / "img"
# Width, least and most height, whether it is dark.
HERE = "document.querySelector('.top nav [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' })"
LOOKS = {"light": (1280, 800, 1040, False), "dark": (1280, 800, 1040, True), "phone": (390, 844, 1688, False)}
FEWER_COLOURS = Path(__file__).with_name("fewer_colours.js").read_text()
MOST_BYTES = 100_000  # of a picture: whoever clones the repository loads them all
TYPES = ("call.started", "call.answered", "call.barge_in", "call.ended")
CUSTOMERS = {"acme": "Acme Telecom", "umbrella": "Umbrella Health", "globex": "Globex Logistics", "initech": "Initech"}
ENDPOINTS = {
    "crm": ("acme", "https://crm.acme.example/hooks/calls", 90, None),
    "billing": ("acme", "https://billing.acme.example/twofold", 60, None),
    "triage": ("umbrella", "https://triage.umbrella.example/events", 70, "http_error"),
    "dispatch": ("acme", "https://dispatch.acme.example/calls", 0, None),
    "archive": ("umbrella", "https://archive.umbrella.example/in", 40, None),
    "tracking": ("globex", "https://api.globex.example/v2/partners/twofold/webhooks/inbound", 50, "timeout"),
    "ops": ("initech", "https://ops.initech.example/hook", 30, None),
}
DETAILS = {
    "crm": {"description": "Customer records", "event_types": ["call.*"], "uid": "crm", "rate_limit": 50,
            "headers": {"Authorization": "Bearer x"}, "metadata": {"team": "sales"}},
    "dispatch": {"description": "Dispatchers' screens", "event_types": ["order.*"], "order": "stream",
                 "order_patience_seconds": 1800, "feed_cursor": True},
    "triage": {"description": "Nurses' desk", "event_types": ["call.started", "call.ended"], "channels": ["ward:7"],
               "content_filter": {"and": [{"path": "/priority", "gte": 2}, {"path": "/language", "in": ["en", "de"]}]},
               "timeout_seconds": 5, "retry_delays_seconds": [10, 60, 600, 3600]},
}  # fmt: skip
# Endpoints and streams that have been there for a while.
AGED = """
WITH streams AS (UPDATE streams SET created_at = now() - interval '30 hours')
UPDATE endpoints SET created_at = now() - interval '30 days', updated_at = now() - interval '9 days'
"""
# What shows that an endpoint fails; the drain writes it.
FAILING = """
UPDATE endpoints SET failing_since = now() - interval '42 minutes', consecutive_failures = %(count)s,
  last_outcome = %(outcome)s WHERE id = %(id)s
"""


# Orders of the day, each stream with how many events, and what came of its first: attempts, seconds in which it stood
# in the way, seconds to the next attempt, outcome, status code, error.
ORDERS = {
    "order_1729": (4, (3, 41, 118, "http_error", 503, None)),
    "order_1741": (2, (2, 19, 95, "timeout", None, "no answer within 15 s")),
    "order_1745": (3, None),
}
# The first delivery of a lane as it is after some attempts that have failed; its endpoint takes others.
STANDS_STILL = """
WITH head AS (
  UPDATE due SET attempt_count = %(count)s, window_attempts = %(count)s, waited_seconds = %(waited)s,
    counted_at = now(), due_at = now() + make_interval(secs => %(next)s)
  WHERE delivery_id = %(id)s RETURNING endpoint_id
), counted AS (UPDATE deliveries SET attempt_count = %(count)s WHERE id = %(id)s)
UPDATE endpoints SET last_outcome = 'success' FROM head WHERE endpoints.id = head.endpoint_id
"""
TRIED = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  status_code, error, remote_address, trigger)
SELECT %(attempt)s, %(at)s, workspace_id, endpoint_id, id, %(count)s, %(at)s, 118, %(outcome)s, %(code)s, %(error)s,
  '203.0.113.20', 'schedule' FROM deliveries WHERE id = %(id)s
"""


@pytest.fixture(scope="module")
def office(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    """Four customers; two endpoints fail since most of an hour."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    server = next(servers)(PORTAL_NAME="Acme Telecom events")
    database = Database(server.database_url)
    kept = passwords.hashed(PASSWORD)
    with database.begin() as connection:
        people = {
            name: users.create_user(connection, name=name, role=role, password_hash=kept)
            for name, role in (("ana", OPERATOR), ("victor", VIEWER))
        }
    made = Office(server, database, Settings.from_env(server.env), {}, {}, people)
    headers = {"Authorization": f"Bearer {server.platform_key}"}
    for uid, name in CUSTOMERS.items():
        body = {"uid": uid, "name": name}
        answer = requests.post(f"{server.base_url}/v1/workspaces", json=body, headers=headers, timeout=20)
        made.workspaces[uid] = answer.json()["id"]
    for name, (workspace, url, rate, trouble) in ENDPOINTS.items():
        body = {"url": url, **DETAILS.get(name, {})}
        made.endpoints[name] = made.ask(workspace, "POST", "/v1/endpoints", body)["id"]
        made.ask(workspace, "PUT", f"/v1/streams/call/{name}-line", {"attributes": {"queue": name}})
        with database.begin() as connection:
            day = past(database_time(connection), rate, trouble) if rate else []
            if day:
                history.write(connection, made.workspaces[workspace], made.endpoints[name], f"{name}-line", day)
            if trouble:
                values = {"id": made.endpoints[name], "outcome": trouble, "count": rate // 2}
                connection.exec_driver_sql(FAILING, values)
    with database.begin() as connection:
        connection.exec_driver_sql(AGED)
    made.ask("acme", "PUT", "/v1/event-types/order.paid", {
        "description": "A customer has paid an order over the phone.", "check": "reject",
        "schema": {"type": "object", "required": ["order", "amount"]}, "example": {"order": "o_1729", "amount": 119.5},
    })  # fmt: skip
    put_in_order(made)
    yield made
    server.kill()
    database.close()
    next(servers, None)


def put_in_order(office: Office) -> None:
    """Streams of an endpoint that keeps order, of which two stand still; and consumers of that customer's feed."""
    kinds = ("order.placed", "order.packed", "order.sent", "order.arrived")
    for name, (count, trouble) in ORDERS.items():
        for type in kinds[:count]:
            data = {"order": name, "items": count}
            stream = {"kind": "order", "id": name}
            office.ask("acme", "POST", "/v1/events", {"stream": stream, "type": type, "data": data})
        if trouble is not None:
            tries, waited, next, outcome, code, error = trouble
            with office.database.begin() as connection:
                at = ids.truncate(database_time(connection))
                values = {
                    "id": head(office, name), "count": tries, "waited": waited, "next": next, "at": at,
                    "outcome": outcome,
                    "code": code, "error": error, "attempt": ids.make(ids.ATTEMPT, at, os.urandom(ids.RANDOM_BYTES)),
                }  # fmt: skip
                connection.exec_driver_sql(STANDS_STILL, values)
                connection.exec_driver_sql(TRIED, values)
    for name, filters in (
        ("billing", {"types": ["order.placed", "order.arrived"]}),
        ("search-index", {}),
        ("warehouse", {"kinds": ["order"], "start": "latest"}),
    ):
        office.ask("acme", "PUT", f"/v1/feed/consumers/{name}", filters)
    page = office.ask("acme", "POST", "/v1/feed/consumers/billing/read", {"limit": 2})
    office.ask("acme", "POST", "/v1/feed/consumers/billing/commit", {"lease": page["lease"]})
    office.ask("acme", "POST", "/v1/feed/consumers/search-index/read", {"limit": 5, "lease_seconds": 600})


def head(office: Office, stream: str) -> str:
    """The delivery that is first in a stream's lane."""
    lanes = office.ask("acme", "GET", f"/v1/endpoints/{office.endpoints['dispatch']}/lanes")["data"]
    return next(str(lane["head"]["delivery_id"]) for lane in lanes if lane["stream"]["id"] == stream)


def past(now: datetime, rate: int, trouble: str | None) -> list[Exchange]:
    """An hour, and a little of yesterday, of an endpoint. rate: attempts an hour. trouble: how they fail lately."""
    dice = random.Random(rate)
    ago = sorted([dice.uniform(5, 3600) for _ in range(rate)] + [86_400 + dice.uniform(5, 9000) for _ in range(9)])
    return [_exchange(dice, now - timedelta(seconds=one), trouble, one) for one in reversed(ago)]


def _exchange(dice: random.Random, at: datetime, trouble: str | None, ago: float) -> Exchange:
    type, took = dice.choice(TYPES), round(dice.lognormvariate(4.2, 0.6))
    agent = dice.choice(("Mia", "Noah", "Ada"))
    data = f'{{"from":"+49 30 {dice.randrange(10**7):07}","agent":"{agent}","priority":2}}'
    if trouble and (ago < 2520 or ago > 86_400):
        status = "failed" if ago > 86_400 else "pending"
        tried = sum(sum(history.DELAYS[:count]) < ago for count in range(len(history.DELAYS) + 1))
        code, took, error = (503, took, None) if trouble == "http_error" else (None, 15_000, "no answer within 15 s")
        return Exchange(at, type, status, tried, trouble, code, took, error, data)
    return Exchange(at, type, took=took, data=data)


def row_of(office: Office, endpoint: str, column: str) -> str:
    """The newest delivery of an endpoint, or its event."""
    (row, *_) = office.ask(
        ENDPOINTS[endpoint][0], "GET", f"/v1/deliveries?endpoint_id={office.endpoints[endpoint]}&limit=1"
    )["data"]
    return str(row[column])


CONSOLE: dict[str, Callable[[Office], str]] = {
    "overview": lambda office: "/console",
    "delivery-log": lambda office: "/console/deliveries",
    "delivery-log-empty": lambda office: "/console/deliveries?type=never.sent",
    "delivery": lambda office: f"/console/deliveries/{row_of(office, 'triage', 'id')}",
    "feed": lambda office: f"/console/feed/{office.workspaces['acme']}",
    "consumers": lambda office: f"/console/feed/{office.workspaces['acme']}/consumers",
    "lanes": lambda office: "/console/lanes",
    "endpoint-lanes": lambda office: f"/console/endpoints/{office.endpoints['dispatch']}/lanes",
    "events": lambda office: "/console/events",
    "event": lambda office: f"/console/events/{row_of(office, 'triage', 'event_id')}",
    "endpoints": lambda office: "/console/endpoints",
    "endpoint": lambda office: f"/console/endpoints/{office.endpoints['triage']}",
    "endpoint-form": lambda office: f"/console/endpoints/{office.endpoints['triage']}/edit",
    "streams": lambda office: "/console/streams",
    "stream": lambda office: f"/console/streams/{office.workspaces['acme']}/call/crm-line",
    "connections": lambda office: "/console/connections",
    "bulk-retries": lambda office: "/console/bulk-retries",
    "bulk-retry-count": lambda office: "/console/bulk-retries/new?status=failed",
    "bulk-retry": lambda office: (
        f"/console/bulk-retries/{office.ask('umbrella', 'GET', '/v1/bulk-retries')['data'][0]['id']}"
    ),
    "customers": lambda office: "/console/workspaces",
    "customer": lambda office: f"/console/workspaces/{office.workspaces['umbrella']}",
    "keys": lambda office: f"/console/keys?workspace={office.workspaces['acme']}",
    "users": lambda office: "/console/users",
    "audit": lambda office: "/console/audit",
    "search": lambda office: "/console/search?q=nothing",
    "error": lambda office: "/console/nothing",
    "front": lambda office: "/",
}
PORTAL: dict[str, Callable[[Office], str]] = {
    "endpoints": lambda office: "/portal/endpoints",
    "endpoint": lambda office: f"/portal/endpoints/{office.endpoints['crm']}",
    "endpoint-form": lambda office: "/portal/endpoints/new",
    "lanes": lambda office: "/portal/lanes",
    "feed": lambda office: "/portal/feed",
    "types": lambda office: "/portal/types",
    "deliveries": lambda office: "/portal/deliveries",
    "delivery": lambda office: f"/portal/deliveries/{row_of(office, 'crm', 'id')}",
    "streams": lambda office: "/portal/streams",
    "stream": lambda office: "/portal/streams/call/crm-line",
    "error": lambda office: "/portal/nothing",
}


def take(chromium: Chromium, page: Page, name: str) -> None:
    """A picture in each look, as tall as the page is, within bounds."""
    workshop = chromium.page("data:text/html,")
    page.tell("Page.bringToFront")  # what is not seen is not drawn
    for look, (width, least, most, dark) in LOOKS.items():
        page.look_like(width, least, dark, scale=1)
        tall = min(page.run("document.documentElement.scrollHeight"), most)
        page.look_like(width, tall, dark, scale=1)
        page.wait_for(f"innerWidth === {width} && innerHeight === {tall}")  # else what follows is undone
        page.run(HERE)
        wide = page.run("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 1, f"{name} {look}: {wide} pixels too wide"
        file = IMAGES / f"{name}-{look}.png"
        page.picture(file)
        text = base64.b64encode(file.read_bytes()).decode()
        file.write_bytes(base64.b64decode(workshop.run(f"({FEWER_COLOURS})({text!r})")))
        assert file.stat().st_size <= MOST_BYTES, file


@pytest.fixture(scope="module", autouse=True)
def _done(office: Office) -> None:
    """What people have done: a key, a bulk retry, a link."""
    office.ask("acme", "POST", "/v1/keys", {"name": "producer", "scopes": ["publish"]})
    office.ask("acme", "POST", "/v1/keys", {"name": "dashboard", "scopes": ["subscribe", "operate"]})
    office.ask("umbrella", "POST", "/v1/bulk-retries", {"status": "failed"})
    ana = audit.Actor("ana", office.people["ana"].id, "203.0.113.7")
    with office.database.begin() as connection:
        audit.note(connection, audit.Actor(audit.COMMAND_LINE), "user.create", target="victor")
        for action, endpoint in (
            ("endpoint.rotate", "crm"),
            ("endpoint.change", "triage"),
            ("endpoint.recover", "ops"),
        ):
            workspace, url, _, _ = ENDPOINTS[endpoint]
            values = {"target": office.endpoints[endpoint], "workspace_id": office.workspaces[workspace], "url": url}
            audit.note(connection, ana, action, **values)


@pytest.mark.parametrize("name", CONSOLE)
def test_console(chromium: Chromium, office: Office, name: str) -> None:
    if name == "connections":
        watcher = office.open(chromium, CONSOLE["stream"](office))
        shows(watcher, "#follow-state", "live")
    page = office.open(chromium, CONSOLE[name](office))
    if name == "connections":
        there(page, "document.querySelector('#fresh td')")
    take(chromium, page, "front" if name == "front" else f"console-{name}")


def test_sign_in(chromium: Chromium, office: Office) -> None:
    page = chromium.page(f"{office.server.base_url}/static/icon.svg")
    page.tell("Network.clearBrowserCookies")
    page.go(f"{office.server.base_url}/console/sign-in")
    page.type("#name", "ana")
    page.type("#password", "not my password")
    shows(page, "#wrong", "The name or the password is wrong.")
    take(chromium, page, "console-sign-in")


def test_what_is_wrong_with_a_form(chromium: Chromium, office: Office) -> None:
    page = office.open(chromium, f"/console/endpoints/new?workspace={office.workspaces['acme']}")
    page.run('document.getElementById(\'content_filter\').value = \'{"path": "/amount", "over": 100}\'')
    page.run("document.getElementById('event_types').value = 'call.*\\nnot a type!'")
    page.type("#url", "http://10.0.0.7/hook")
    shows(page, "[role=alert]", "Nothing is saved yet.")
    take(chromium, page, "console-endpoint-form-wrong")


@pytest.mark.parametrize("name", PORTAL)
def test_portal(chromium: Chromium, office: Office, name: str) -> None:
    page = office.enter(chromium, "manage", "operate", "subscribe")
    page.go(office.server.base_url + PORTAL[name](office))
    take(chromium, page, f"portal-{name}")


def test_a_secret_is_shown_once(chromium: Chromium, office: Office) -> None:
    page = office.enter(chromium, "manage", "operate")
    page.go(f"{office.server.base_url}/portal/endpoints/new")
    page.type("#url", "https://desk.acme.example/hook")
    shows(page, ".secret", "whsec_")
    take(chromium, page, "portal-secret")


def test_there_are_these_pictures_and_the_documents_show_no_others() -> None:
    others = ("front", "console-sign-in", "console-endpoint-form-wrong", "portal-secret")
    pages = [*(f"console-{name}" for name in CONSOLE if name != "front"), *(f"portal-{name}" for name in PORTAL)]
    files = {file.name: file.stat().st_size for file in IMAGES.glob("*.png")}
    assert set(files) == {f"{page}-{look}.png" for page in (*pages, *others) for look in LOOKS}
    assert sum(files.values()) < 4_700_000
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {part.split(")")[0] for file in documents for part in file.read_text().split("img/")[1:]}
    assert {name for name in shown if name.endswith(".png")} <= set(files)
