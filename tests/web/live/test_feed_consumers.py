"""Consumers over HTTP: made, read with a lease, committed, moved, and told of what they have missed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import requests

from app.core.feed.cursor import Cursor, encode
from app.database.connection import Database
from app.live.feed.pages import Feed
from tests.processes import RunningServer
from tests.web.live.test_feed import AWAY, Workspace

PATH = "/v1/feed/consumers"


class Puller:
    """The consumer `billing` of a workspace of the test's own."""

    def __init__(self, server: RunningServer, uid: str, **wanted: Any) -> None:
        self.workspace = Workspace(server, uid)
        self._server = server
        assert self.ask("PUT", "", wanted).status_code == 201

    def ask(self, method: str, path: str, json: Any = None, **headers: str) -> requests.Response:
        url = f"{self._server.base_url}{PATH}/billing{path}"
        return requests.request(method, url, json=json, headers=self.workspace.bearer | headers, timeout=40)

    def read(self, **wanted: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/read", wanted)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def commit(self, lease: str, **more: str) -> requests.Response:
        return self.ask("POST", "/commit", {"lease": lease, **more})

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "").json()
        return found


def streams(page: dict[str, Any]) -> list[str]:
    return [entry["event"]["stream"]["id"] for entry in page["data"]]


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_events_are_read_once_and_the_place_is_kept(server: RunningServer) -> None:
    puller = Puller(server, "consumer_reads")
    puller.workspace.post("a", "b", "c")
    first = puller.read(limit=2)
    assert (streams(first), first["more"]) == (["a", "b"], True)
    busy = puller.ask("POST", "/read", {})
    assert code(busy) == (409, "lease_held")
    assert 50 <= int(busy.headers["Retry-After"]) <= 61
    assert puller.state()["leased_until"] == first["leased_until"]
    done = puller.commit(first["lease"])
    assert (done.status_code, done.json()["cursor"]) == (200, first["cursor"])
    assert puller.commit(first["lease"]).json() == done.json()
    second = puller.read()
    assert streams(second) == ["c"]
    puller.commit(second["lease"])
    assert puller.read() | {"cursor": "", "more": False} == {
        "lease": None,
        "leased_until": None,
        "data": [],
        "cursor": "",
        "more": False,
    }


def test_a_part_of_a_page_may_be_committed(server: RunningServer) -> None:
    puller = Puller(server, "consumer_parts")
    puller.workspace.post("a", "b", "c")
    page = puller.read()
    assert code(puller.commit(page["lease"], cursor=AWAY)) == (422, "invalid")
    assert code(puller.commit(page["lease"], cursor="x")) == (422, "invalid")
    assert puller.commit(page["lease"], cursor=page["data"][0]["cursor"]).status_code == 200
    assert streams(puller.read()) == ["b", "c"]


def test_a_lease_that_was_lost_commits_nothing(server: RunningServer) -> None:
    puller = Puller(server, "consumer_lost")
    puller.workspace.post("a")
    page = puller.read()
    assert puller.ask("POST", "/seek", {"to": "earliest"}).status_code == 200
    assert code(puller.commit(page["lease"])) == (409, "lease_lost")
    again = puller.read()
    assert streams(again) == ["a"]
    assert code(puller.commit(page["lease"])) == (409, "lease_lost")
    assert puller.commit(again["lease"]).status_code == 200


def test_a_read_whose_answer_was_lost_is_asked_for_again_by_its_key(server: RunningServer) -> None:
    puller = Puller(server, "consumer_repeats")
    puller.workspace.post("a")
    first, again = (puller.ask("POST", "/read", {}, **{"Idempotency-Key": "one"}).json() for _ in range(2))
    assert (again["lease"], streams(again)) == (first["lease"], ["a"])
    assert code(puller.ask("POST", "/read", {}, **{"Idempotency-Key": "two"})) == (409, "lease_held")


def test_whoever_waits_is_answered_and_nobody_reads_beside(server: RunningServer) -> None:
    puller = Puller(server, "consumer_waits", start="latest")
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(puller.read(wait=20)))
    began = time.monotonic()
    waiting.start()
    while puller.state()["leased_until"] is None and time.monotonic() < began + 10:
        pass
    assert code(puller.ask("POST", "/read", {})) == (409, "lease_held")
    puller.workspace.post("a")
    waiting.join()
    assert streams(answers[0]) == ["a"]
    assert time.monotonic() - began < 15


def test_filters_and_the_start_are_the_consumers_and_others_are_passed_over(server: RunningServer) -> None:
    puller = Puller(server, "consumer_filters", streams=["note:a"], types=["note.*"])
    puller.workspace.post("b", "c")
    before = puller.state()["cursor"]
    assert streams(puller.read()) == []
    assert puller.state()["cursor"] != before  # nothing to commit, and not looked at again
    puller.workspace.post("a")
    page = puller.read(wait=5)
    assert streams(page) == ["a"]
    puller.commit(page["lease"])
    changed = puller.ask("PUT", "", {"kinds": ["call"], "start": "earliest"})
    assert (changed.status_code, changed.json()["streams"], changed.json()["kinds"]) == (200, None, ["call"])
    assert changed.json()["cursor"] == page["cursor"]  # one that exists stays where it is


def test_a_consumer_may_ask_for_content(server: RunningServer) -> None:
    rich = {"path": "/amount", "gte": 1e22}
    puller = Puller(server, "consumer_content", content_filter=rich)
    assert puller.state()["content_filter"] == rich
    puller.workspace.post("a", data={"amount": 1})
    puller.workspace.post("b", data={"amount": 2e22})
    page = puller.read(wait=5)
    assert streams(page) == ["b"] or streams(puller.read(wait=5)) == ["b"]
    puller.ask("POST", "/seek", {"to": "latest"})
    changed = puller.ask("PUT", "", {"content_filter": None})
    assert (changed.status_code, changed.json()["content_filter"]) == (200, None)
    puller.workspace.post("c", data={"amount": 1})
    assert streams(puller.read(wait=5)) == ["c"]
    wrong = puller.ask("PUT", "", {"content_filter": {"path": "amount", "eq": 1}})
    assert (code(wrong), wrong.json()["errors"][0]["field"]) == ((422, "invalid"), "content_filter.path")


def test_the_lag_is_told(server: RunningServer) -> None:
    puller = Puller(server, "consumer_lag")
    assert puller.state()["lag"] == {"events": 0, "at_least": False, "seconds": 0.0}
    puller.workspace.post("a", "b")
    puller.workspace.get("?wait=5")  # a tick
    lag = puller.state()["lag"]
    assert (lag["events"], lag["at_least"]) == (2, False)
    assert 0 < lag["seconds"] < 60
    listed = puller.workspace.server
    page = requests.get(f"{listed.base_url}{PATH}?limit=1", headers=puller.workspace.bearer, timeout=10).json()
    assert [one["name"] for one in page["data"]] == ["billing"]
    assert page["next_cursor"] is None
    figures = requests.get(f"{server.base_url}/metrics", timeout=10).text
    assert 'twofold_feed_consumers{behind="under_1m"}' in figures


def test_a_place_that_was_lost_is_told_and_not_jumped_over(server: RunningServer) -> None:
    puller = Puller(server, "consumer_lost_place")
    puller.workspace.post("a")
    assert code(puller.ask("POST", "/seek", {"to": AWAY})) == (409, "cursor_lost")
    stand_at(server, "consumer_lost_place", AWAY)
    assert code(puller.ask("POST", "/read", {})) == (409, "cursor_lost")
    assert puller.state()["lag"]["events"] == 0
    assert puller.ask("POST", "/seek", {"to": "earliest"}).status_code == 200
    assert streams(puller.read(wait=5)) == ["a"]


def test_a_place_older_than_what_is_kept_is_told_and_not_jumped_over(server: RunningServer) -> None:
    puller = Puller(server, "consumer_old", start="latest")
    for stream in "abc":
        puller.workspace.post(stream)
        puller.workspace.get("?wait=5")
    database = Database(server.database_url)
    try:
        newest = Feed(database).tick(0)
        with database.begin() as connection:
            connection.exec_driver_sql("DELETE FROM ticks WHERE id < %(newest)s", {"newest": newest.id})
    finally:
        database.close()
    stand_at(server, "consumer_old", encode(Cursor(replace(newest, id=newest.id - 2))))
    told = puller.ask("POST", "/read", {})
    assert code(told) == (410, "cursor_gone")
    assert puller.state()["leased_until"] is None  # given back
    assert puller.ask("POST", "/seek", {"to": told.json()["cursor"]}).status_code == 200
    puller.workspace.post("d")
    assert streams(puller.read(wait=5)) == ["d"]


def stand_at(server: RunningServer, uid: str, cursor: str) -> None:
    """Put the consumers of a workspace somewhere, however impossible."""
    database = Database(server.database_url)
    try:
        with database.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE feed_consumers SET cursor = %(cursor)s"
                " WHERE workspace_id = (SELECT id FROM workspaces WHERE uid = %(uid)s)",
                {"cursor": cursor, "uid": uid},
            )
    finally:
        database.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", f"{PATH}/a.b", {}, 422),
        ("PUT", f"{PATH}/good", {"streams": ["note"]}, 422),
        ("PUT", f"{PATH}/good", {"types": []}, 422),
        ("PUT", f"{PATH}/good", {"start": "yesterday"}, 422),
        ("PUT", f"{PATH}/good", {"kinds": ["call"] * 21}, 422),
        ("POST", f"{PATH}/none/read", {}, 404),
        ("POST", f"{PATH}/none/seek", {"to": "latest"}, 404),
        ("POST", f"{PATH}/none/commit", {"lease": "a"}, 404),
        ("POST", f"{PATH}/none/read", {"lease_seconds": 3601}, 422),
        ("POST", f"{PATH}/none/read", {"limit": 251}, 422),
        ("POST", f"{PATH}/none/commit", {"lease": "a b"}, 422),
        ("DELETE", f"{PATH}/none", None, 404),
    ],
)
def test_nonsense_is_refused(server: RunningServer, method: str, path: str, body: Any, status: int) -> None:
    headers = {"Authorization": f"Bearer {server.workspace_key}"}
    answer = requests.request(method, server.base_url + path, json=body, headers=headers, timeout=10)
    assert answer.status_code == status, answer.text
