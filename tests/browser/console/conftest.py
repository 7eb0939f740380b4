"""A product with two customers, whose receivers answer well, badly or not at all, and people who look at it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from app.accounts import passwords, users
from app.accounts.users import OPERATOR, VIEWER
from app.core import ids
from app.core.wire.envelope import encode, rfc3339
from app.database.connection import Database
from app.database.partitions import database_time, make_partitions
from app.local.embedded import EmbeddedRedis
from app.settings import Settings
from app.web.pages.console import forms
from tests.browser.chromium import Chromium, Page
from tests.conftest import _servers
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.processes import RunningServer, eventually, free_port

PASSWORD = "correct horse battery staple"
ERROR = b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\r\nthe shop is closed"

OLD_EVENT = """
INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body)
SELECT %(id)s, %(at)s, workspace_id, id, last_seq + 1, %(type)s, %(at)s, %(body)s FROM streams
WHERE workspace_id = %(workspace)s AND external_id = %(stream)s
"""
OLD_DELIVERY = """
INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type, status,
  reason, window_started_at, deadline_at, attempt_count, finished_at)
VALUES (%(id)s, %(at)s, %(workspace)s, %(endpoint)s, %(event)s, %(at)s, %(type)s, 'failed',
  'window_exhausted: no success within 24 h; last: http_error 500', %(at)s, now(), 11, now())
"""


@dataclass
class Office:
    """The product, its customers and their endpoints, and who works there."""

    server: RunningServer
    database: Database
    settings: Settings
    workspaces: dict[str, str]
    endpoints: dict[str, str]
    people: dict[str, users.UserRow]
    host_port: int = 0
    """Of http://localhost, whose pages may show the portal in a frame."""

    def ask(self, workspace: str, method: str, path: str, body: Any = None) -> Any:
        """One request with the platform's key."""
        headers = {"Authorization": f"Bearer {self.server.platform_key}", "X-Workspace": workspace}
        answer = requests.request(method, self.server.base_url + path, json=body, headers=headers, timeout=20)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def publish(self, workspace: str, stream: str, type: str = "call.started", **data: Any) -> str:
        """Post an event; its id."""
        event = {"stream": {"kind": "call", "id": stream}, "type": type, "data": data}
        return str(self.ask(workspace, "POST", "/v1/events", event)["id"])

    def yesterday(self, workspace: str, type: str, endpoint: str | None) -> str:
        """An event of a day ago, which failed at an endpoint or (None) had no delivery; its id."""
        stream, workspace_id = f"old_{uuid.uuid4().hex[:8]}", self.workspaces[workspace]
        self.ask(workspace, "PUT", f"/v1/streams/call/{stream}", {})
        with self.database.begin() as connection:
            at = ids.truncate(database_time(connection) - timedelta(hours=24))
            make_partitions(connection, at, 0)
            event, delivery = (ids.make(prefix, at, uuid.uuid4().bytes[:10]) for prefix in (ids.EVENT, ids.DELIVERY))
            body = encode(id=event, type=type, timestamp=rfc3339(at), workspace_id=workspace_id, kind="call",
                          stream_id=stream, seq=1, data='{"order":7}')  # fmt: skip
            values = {"id": event, "at": at, "type": type, "body": body, "workspace": workspace_id, "stream": stream}
            connection.exec_driver_sql(OLD_EVENT, values)
            if endpoint is not None:
                values |= {"id": delivery, "event": event, "endpoint": self.endpoints[endpoint]}
                connection.exec_driver_sql(OLD_DELIVERY, values)
        return event

    def open(self, chromium: Chromium, path: str, person: str = "ana", **looks: Any) -> Page:
        """A page of the console, by a session of this person."""
        with self.database.begin() as connection:
            session_id, expires_at = users.begin_session(connection, self.people[person].id)
        cookie = forms.session_cookie(self.settings, session_id, expires_at)
        page = chromium.page(f"{self.server.base_url}/static/icon.svg", **looks)
        url = self.server.base_url + forms.PATH
        page.tell("Network.setCookie", name=forms.COOKIE, value=cookie, url=url, path=forms.PATH)
        page.go(self.server.base_url + path)
        page.problems.clear()  # the browser has looked for an icon of the icon
        return page

    def enter(self, chromium: Chromium, *scopes: str, workspace: str = "acme", **looks: Any) -> Page:
        """A workspace's portal, by a new link that allows these scopes."""
        link = self.ask(workspace, "POST", "/v1/portal-links", {"scopes": list(scopes)})
        page = chromium.page(link["url"], **looks)
        page.click("#open button")
        page.wait_for("location.pathname.match('^/portal/(endpoints|deliveries|streams)$')")
        page.wait_for("document.readyState === 'complete'")
        page.problems.clear()  # the browser has looked for an icon of the icon
        return page

    def delivery(self, workspace: str, event: str, endpoint: str) -> dict[str, Any]:
        """The delivery of an event to an endpoint, once it has had an attempt."""

        def tried() -> Any:
            rows = self.ask(workspace, "GET", f"/v1/events/{event}/deliveries")["data"]
            return [row for row in rows if row["endpoint_id"] == self.endpoints[endpoint] and row["attempt_count"]]

        found: dict[str, Any] = eventually(tried, 30, about="an attempt")[0]
        return found


@pytest.fixture(scope="session")
def office(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    """Acme's shop is closed, its books are well, its bots want other types; Quiet has one endpoint and no trouble;
    Line's endpoint wants each stream's events in order, and is closed."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    host_port = free_port()
    server = next(servers)(worker=True, PORTAL_FRAME_ORIGINS=f"http://localhost:{host_port}")
    database = Database(server.database_url)
    kept = passwords.hashed(PASSWORD)
    with database.begin() as connection:
        people = {
            name: users.create_user(connection, name=name, role=role, password_hash=kept)
            for name, role in (("ana", OPERATOR), ("vic", VIEWER))
        }
    with ScriptedServer(answering(ERROR)) as closed, ScriptedServer(answering(OK)) as well:
        made = Office(server, database, Settings.from_env(server.env), {}, {}, people, host_port)
        headers = {"Authorization": f"Bearer {server.platform_key}"}
        for uid in ("acme", "quiet", "line"):
            body = {"uid": uid, "name": uid.title()}
            answer = requests.post(f"{server.base_url}/v1/workspaces", json=body, headers=headers, timeout=20)
            made.workspaces[uid] = answer.json()["id"]
        for name, workspace, url, more in (
            ("shop", "acme", closed.url, {"event_types": ["call.*"]}),
            ("books", "acme", well.url, {}),
            ("bots", "acme", f"{well.url}/bots", {"event_types": ["bot.*"]}),
            ("quiet", "quiet", f"{well.url}/quiet", {"event_types": ["call.*"]}),
            ("line", "line", f"{closed.url}/line", {"order": "stream"}),
        ):
            body = {"url": url, **more}
            made.endpoints[name] = made.ask(workspace, "POST", "/v1/endpoints", body)["id"]
        yield made
        server.kill()
    database.close()
    next(servers, None)


@pytest.fixture
def pictures() -> Path:
    """Where screenshots go."""
    from tests.browser.conftest import PICTURES

    return PICTURES / "console"
