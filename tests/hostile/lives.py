"""What people and machines may do to a workspace over the API, in any order, with what has to be true at each moment.

The invariants are those of FACTS: everything acknowledged reached its endpoint or the API names its end (I1), nothing
else was sent (I2), each POST verifies (I3), streams are gap-free (I4), no row leaves a terminal state by itself (I6).
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import requests
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from standardwebhooks import Webhook

from app.client import Stream
from app.client.books.bookkeeper import Bookkeeper, Receiver
from app.client.receiving import WebhookServer
from app.core.event.filters import matches
from tests.delivery.world import World
from tests.processes import RunningServer

KIND = "note"  # of no contract: nothing but a request ends its streams
STREAMS = ("a", "b")
TYPES = ("call.started", "note.added")
FILTERS = (None, ["call.*"], ["note.added"])
ANSWERS = (204, 204, 500, 410)
SPANS = (timedelta(seconds=6), timedelta(minutes=3), timedelta(hours=2), timedelta(hours=25))
BOXES = 2
ENDED = ("delivered", "failed", "cancelled")
# With 24 hours between them: a schedule that began anew after a retry or a recovery is over by then.
LAST_ROUNDS = 4


class Mailbox:
    """A receiver. page: of the endpoint that it serves at the moment."""

    def __init__(self) -> None:
        self.answer, self.secret = 204, ""
        self.page: Receiver | None = None
        self._server = WebhookServer(0, self._take)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def verify(self, body: bytes, headers: dict[str, str]) -> None:
        """Raises when the newest secret does not verify it."""
        Webhook(self.secret).verify(body, headers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        if self.page is not None:
            self.page.got(headers, body)
        return self.answer


class Ground:
    """What all lives share: a running server, a drain, and receivers."""

    def __init__(self, server: RunningServer, world: World) -> None:
        self.server, self.world = server, world
        self._passed_seconds = 0.0
        self.drain = world.drain(clock=lambda: time.monotonic() + self._passed_seconds)
        self.boxes = [Mailbox() for _ in range(BOXES)]

    def let_pass(self, span: timedelta) -> None:
        """Let this time pass, by the drain's clock, too: how far into the past it looks for rows depends on that."""
        self.world.let_pass(span)
        self._passed_seconds += span.total_seconds()

    def close(self) -> None:
        for box in self.boxes:
            box.close()


class Registered:
    """An endpoint as this test knows it. expected: keys of the events that it has to get."""

    def __init__(self, id: str, box: Mailbox, types: list[str] | None) -> None:
        self.id, self.box, self.types = id, box, types
        self.enabled, self.deleted = True, False
        self.page: Receiver | None = None
        self.expected: set[str] = set()

    def wants(self, type: str) -> bool:
        return matches(self.types, None, type=type, kind=KIND)


class Life(RuleBasedStateMachine):
    """One workspace's life."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self._session = requests.Session()
        self.books = Bookkeeper()
        self.since = datetime.now(UTC) - timedelta(seconds=1)
        platform = {"Authorization": f"Bearer {self.ground.server.platform_key}"}
        self.workspace = self.ask("POST", "/v1/workspaces", {"name": "life"}, 201, headers=platform)["id"]
        named = platform | {"X-Workspace": self.workspace}
        wanted = {"name": "all", "scopes": ["publish", "subscribe", "manage", "operate"]}
        key = self.ask("POST", "/v1/keys", wanted, 201, headers=named)["key"]
        self._session.headers["Authorization"] = f"Bearer {key}"
        self.seqs: dict[str, list[str]] = {name: [] for name in STREAMS}  # the keys of a stream's events, in order
        self.ended: set[str] = set()
        self.places: dict[str, tuple[str, str, str, int]] = {}  # key -> stream, type, id, seq
        self.endpoints: list[Registered] = []
        self.statuses: dict[str, str] = {}
        self.may_reopen: set[str] = set()

    @initialize(types=st.sampled_from(FILTERS), answer=st.sampled_from(ANSWERS))
    def begin(self, types: list[str] | None, answer: int) -> None:
        """With something that waits to be delivered."""
        self.create_endpoint(types)
        self.endpoints[0].box.answer = answer
        self.publish(STREAMS[0], [*TYPES])

    @rule(stream=st.sampled_from(STREAMS), types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    def publish(self, stream: str, types: list[str]) -> None:
        events = [self._event(stream, type, f"k{len(self.books.posts()) + at}") for at, type in enumerate(types)]
        for event in events:
            self._posting(event)
        answers = self.ask("POST", "/v1/events", events, 202)["data"]
        for event, answer in zip(events, answers, strict=True):
            self._answered(event, answer)

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.places)))
        stream, type, id, seq = self.places[key]
        answer = self.ask("POST", "/v1/events", self._event(stream, type, key), 200)
        assert (answer["id"], answer["seq"], answer["duplicate"]) == (id, seq, True)
        self.books.acknowledged(key, answer["id"], answer["seq"])

    @rule(stream=st.sampled_from(STREAMS))
    def end_stream(self, stream: str) -> None:
        if self.seqs[stream] or stream in self.ended:
            assert self.ask("POST", f"/v1/streams/{KIND}/{stream}/end", {}, 200)["status"] == "ended"
            self.ended.add(stream)

    @precondition(lambda self: len(self.alive) < BOXES)
    @rule(types=st.sampled_from(FILTERS))
    def create_endpoint(self, types: list[str] | None) -> None:
        box = next(box for box in self.ground.boxes if box not in [one.box for one in self.alive])
        made = self.ask("POST", "/v1/endpoints", {"url": box.url, "event_types": types}, 201)
        one = Registered(made["id"], box, types)
        box.answer, box.secret = 204, made["secret"]
        one.page = box.page = self.books.receiver(one.id, box.verify, wants=lambda post: post.key in one.expected)
        self.endpoints.append(one)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), answer=st.sampled_from(ANSWERS))
    def receiver_answers(self, data: st.DataObject, answer: int) -> None:
        self._pick(data).box.answer = answer

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), enabled=st.booleans())
    def switch(self, data: st.DataObject, enabled: bool) -> None:
        one = self._pick(data)
        status = "enabled" if enabled else "disabled"
        assert self.ask("PATCH", f"/v1/endpoints/{one.id}", {"status": status}, 200)["status"] == status
        one.enabled = enabled
        assert enabled or "pending" not in self._states(one), "what is pending is cancelled with the endpoint"

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        one = self._pick(data)
        one.box.secret = self.ask("POST", f"/v1/endpoints/{one.id}/secret/rotate", {}, 200)["secret"]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def delete_endpoint(self, data: st.DataObject) -> None:
        one = self._pick(data)
        self.ask("DELETE", f"/v1/endpoints/{one.id}", None, 204)
        assert "pending" not in self._states(one)
        one.deleted = True

    @rule()
    def deliver(self) -> None:
        self.ground.drain.run()
        for one in self.alive:
            shown = self.ask("GET", f"/v1/endpoints/{one.id}", None, 200)
            assert shown["status"] == "enabled" or shown["disabled_reason"], shown
            one.enabled = shown["status"] == "enabled"

    @rule(span=st.sampled_from(SPANS))
    def time_passes(self, span: timedelta) -> None:
        self.ground.let_pass(span)

    @precondition(lambda self: self.statuses)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.statuses)))
        shown = self.ask("GET", f"/v1/deliveries/{id}", None, 200)
        takes = any(one.id == shown["endpoint_id"] and one.enabled for one in self.alive)
        self.ask("POST", f"/v1/deliveries/{id}/retry", {}, 202 if takes else 409)
        self.may_reopen |= {id} if takes else set()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def recover(self, data: st.DataObject) -> None:
        one = self._pick(data)
        wanted = {"since": self.since.isoformat()}
        if not one.enabled:
            self.ask("POST", f"/v1/endpoints/{one.id}/recover", wanted, 409)
            return
        before = self._deliveries(one)
        ended = {row["id"] for row in before if row["status"] in ("failed", "cancelled")}
        has = {row["event_id"] for row in before}
        missed = {key for key, (_, type, id, _) in self.places.items() if one.wants(type) and id not in has}
        done = self.ask("POST", f"/v1/endpoints/{one.id}/recover", wanted, 202)
        assert done == {"retried": len(ended), "missed": len(missed), "complete": True}
        self.may_reopen |= ended
        one.expected |= missed

    @invariant()
    def nothing_leaves_a_terminal_state_by_itself(self) -> None:
        now = {row["id"]: row["status"] for row in self._deliveries(None)}
        assert self.statuses.keys() <= now.keys()
        for id, before in self.statuses.items():
            reopened = before in ENDED and now[id] != before
            assert not reopened or id in self.may_reopen, f"{id} was {before} and is {now[id]}"
        self.statuses, self.may_reopen = now, set()

    def teardown(self) -> None:
        """Let everything come to its end, then have the books audited."""
        for one in self.alive:
            one.box.answer = 204
        for _ in range(LAST_ROUNDS):
            self.ground.drain.run()
            self.ground.let_pass(timedelta(hours=25))
        rows = self._deliveries(None)
        assert {row["status"] for row in rows} <= {*ENDED}
        self._excuse(rows)
        for stream in STREAMS:
            self._watch(stream)
        assert [str(found) for found in self.books.findings()] == []
        self._session.headers["Authorization"] = f"Bearer {self.ground.server.platform_key}"
        self.ask("DELETE", f"/v1/workspaces/{self.workspace}", None, 204)
        for box in self.ground.boxes:
            box.page = None

    @property
    def alive(self) -> list[Registered]:
        """The endpoints that were not deleted."""
        return [one for one in self.endpoints if not one.deleted]

    def _pick(self, data: st.DataObject) -> Registered:
        return data.draw(st.sampled_from(self.alive))

    def _event(self, stream: str, type: str, key: str) -> dict[str, Any]:
        return {"stream": {"kind": KIND, "id": stream}, "type": type, "data": {"key": key}, "idempotency_key": key}

    def _posting(self, event: dict[str, Any]) -> None:
        key = event["idempotency_key"]
        data = f'{{"key":"{key}"}}'.encode()
        self.books.posting(key, (KIND, event["stream"]["id"]), event["type"], data)

    def _answered(self, event: dict[str, Any], answer: dict[str, Any]) -> None:
        key, stream, type = event["idempotency_key"], event["stream"]["id"], event["type"]
        if stream in self.ended:
            assert answer["code"] == "stream_ended", answer
            self.books.refused(key, answer["code"])
            return
        self.seqs[stream].append(key)
        assert (answer["seq"], answer["duplicate"]) == (len(self.seqs[stream]), False), answer
        self.books.acknowledged(key, answer["id"], answer["seq"])
        self.places[key] = (stream, type, answer["id"], answer["seq"])
        for one in self.alive:
            if one.enabled and one.wants(type):
                one.expected.add(key)

    def _excuse(self, rows: list[dict[str, Any]]) -> None:
        """What did not arrive is named by the API, with a reason."""
        for row in rows:
            if row["status"] != "delivered":
                assert row["reason"], row
                (page,) = (one.page for one in self.endpoints if one.id == row["endpoint_id"])
                assert page is not None
                page.excuse(row["event_id"], f"{row['status']}: {row['reason']}")

    def _watch(self, stream: str) -> None:
        """Read the whole stream from its beginning to its end, live."""
        if not self.seqs[stream]:
            return
        self.ask("POST", f"/v1/streams/{KIND}/{stream}/end", {}, 200)
        viewer = self.books.viewer(stream, (KIND, stream))
        url = f"{self.ground.server.base_url}/v1/streams/{KIND}/{stream}/live?after_seq=0"
        with Stream(url, headers=dict(self._session.headers)) as frames:
            for frame in frames:
                viewer.saw(seq=int(frame.id), type=frame.type)

    def _states(self, one: Registered) -> set[str]:
        return {row["status"] for row in self._deliveries(one)}

    def _deliveries(self, one: Registered | None) -> list[dict[str, Any]]:
        """All deliveries of the workspace, or those of one endpoint."""
        rows: list[dict[str, Any]] = []
        query = "limit=250" + (f"&endpoint_id={one.id}" if one is not None else "")
        cursor = ""
        while True:
            page = self.ask("GET", f"/v1/deliveries?{query}{cursor}", None, 200)
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            cursor = f"&cursor={quote(page['next_cursor'])}"

    def ask(self, method: str, path: str, body: Any, status: int, headers: dict[str, str] | None = None) -> Any:
        """A request over the API that must be answered with this status."""
        url = f"{self.ground.server.base_url}{path}"
        answer = self._session.request(method, url, json=body, headers=headers, timeout=30)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None
