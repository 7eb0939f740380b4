"""Of several things that are wrong with a request, the one that each transport names: the order is part of the API."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from app.local.embedded import EmbeddedRedis
from tests.conftest import _servers
from tests.processes import RunningServer, eventually
from tests.web.live.watching import Stage, Watch, open_path, subscribers

# Routes that refuse ended streams, and one that replays them.
CONTRACT = """
name = "orders"
[[streams]]
kind = "order"
id_pattern = "s_.*"
[[routes]]
name = "sse"
path = "/orders/{id}/sse"
kind = "order"
id = "path:id"
credentials = ["key:bearer", "token:bearer"]
frame = { data = "payload" }
replay = "cursor"
options = ["types", "after_seq", "speed"]
[[routes]]
name = "replayed"
path = "/orders/{id}/replayed"
kind = "order"
id = "path:id"
credentials = ["key:bearer"]
frame = { data = "payload" }
replay = "cursor"
ended = "replay"
options = ["types", "after_seq", "speed"]
[[routes]]
name = "ws"
does = "websocket"
path = "/orders/{id}/ws"
kind = "order"
id = "path:id"
credentials = ["key:bearer", "token:bearer"]
frame = { event = false, id = false, data = "envelope" }
replay = "cursor"
options = ["types", "after_seq"]
[[routes]]
name = "by_query"
path = "/orders"
kind = "order"
id = "query:id"
credentials = ["key:bearer"]
frame = { data = "payload" }
"""
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


SSE, REPLAYED, WS = "/orders/{{{}}}/sse", "/orders/{{{}}}/replayed", "/orders/{{{}}}/ws"
OPEN, ENDED, ABSENT = "open", "ended", "absent"


class Orders:
    """A server where a key may have one connection, with an open stream, an ended one and an id that is no stream's."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        open_stream, ended, other = (Stage(server, kind="order") for _ in range(3))
        for stage in (open_stream, ended, other):
            stage.post("{}")
        ended.end()
        self._ids = {OPEN: open_stream.id, ENDED: ended.id, ABSENT: f"s_{uuid.uuid4().hex}"}
        self.token_of_another = other.token()

    def ask(self, path: str, *, key: str | None = "", method: str = "GET", **headers: str) -> Watch:
        """Send a request with the workspace's key, with another credential, or (None) without any."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key or self.server.workspace_key}"
        return open_path(self.server, path.format(**self._ids), method=method, **headers)

    def answer(self, path: str, **options: str | None) -> str:
        """Status and, for a refusal, code."""
        with self.ask(path, **options) as answer:  # type: ignore[arg-type]
            refused = answer.status >= 400 and options.get("method") != "HEAD"
            return f"{answer.status} {answer.problem()['code']}" if refused else str(answer.status)


@pytest.fixture(scope="module")
def orders(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orders]:
    """The server. Whoever uses it leaves it without connections."""
    folder = tmp_path_factory.mktemp("contracts")
    (folder / "orders.toml").write_text(CONTRACT)
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield Orders(next(servers)(CONTRACTS_DIR=str(folder), MAX_SUBSCRIBERS_PER_KEY="1"))
    next(servers, None)


@pytest.fixture(autouse=True)
def nobody(orders: Orders) -> None:
    """Those of the test before have been forgotten."""
    eventually(lambda: subscribers(orders.server) == 0)


def test_server_sent_events_name_the_first_thing_that_is_wrong(orders: Orders) -> None:
    foreign = orders.token_of_another
    cases: list[tuple[str, dict[str, str | None], str]] = [
        ("/orders/x/sse", {"key": None}, "401 unauthorized"),
        ("/orders", {"key": None}, "401 unauthorized"),
        ("/orders", {}, "422 missing_id"),
        ("/orders/x/sse?types=*.a", {}, "422 invalid_id"),
        ("/orders/x/sse", {"key": foreign}, "422 invalid_id"),
        (SSE.format(ABSENT), {"key": foreign}, "401 unauthorized"),
        (SSE.format(ABSENT) + "?types=*.a&after_seq=x", {}, "404 not_found"),
        (SSE.format(OPEN) + "?types=*.a&after_seq=x&speed=x", {}, "422 invalid"),
        (SSE.format(OPEN) + "?after_seq=x&speed=x", {}, "400 bad_request"),
        (SSE.format(OPEN) + "?speed=2", {}, "409 conflict"),
        (SSE.format(ENDED) + "?types=*.a", {}, "422 invalid"),
        (SSE.format(ENDED) + "?after_seq=x", {}, "400 bad_request"),
        (SSE.format(ENDED) + "?speed=x", {}, "422 invalid"),
        (SSE.format(ENDED) + "?speed=2", {}, "404 ended"),
        (REPLAYED.format(ENDED) + "?after_seq=1", {}, "204"),
        (REPLAYED.format(ENDED) + "?after_seq=1", {"method": "HEAD"}, "204"),
        (SSE.format(OPEN), {"method": "HEAD"}, "200"),
        (SSE.format(ENDED), {"method": "HEAD"}, "404"),
    ]
    assert [orders.answer(path, **options) for path, options, _ in cases] == [expected for *_, expected in cases]
    full: list[tuple[str, dict[str, str | None], str]] = [
        (SSE.format(OPEN), {}, "429 too_many"),
        (SSE.format(OPEN), {"method": "HEAD"}, "429"),
        (SSE.format(OPEN) + "?types=*.a", {}, "422 invalid"),
        (SSE.format(OPEN) + "?after_seq=x", {}, "400 bad_request"),
        (SSE.format(ENDED), {}, "404 ended"),
        (REPLAYED.format(ENDED) + "?after_seq=1", {}, "204"),
        (REPLAYED.format(ENDED), {}, "429 too_many"),
    ]
    with orders.ask(SSE.format(OPEN)) as only:
        assert only.status == 200
        assert [orders.answer(path, **options) for path, options, _ in full] == [expected for *_, expected in full]


def test_websockets_name_the_first_thing_that_is_wrong(orders: Orders) -> None:
    foreign = orders.token_of_another
    cases: list[tuple[str, dict[str, str | None], str]] = [
        (WS.format(ABSENT), {"key": None, "Upgrade": "h2c"}, "426 upgrade_required"),
        (WS.format(ABSENT), {"key": None, "Sec_WebSocket_Version": "8"}, "426 upgrade_required"),
        (WS.format(ABSENT), {"key": None, "Sec_WebSocket_Key": "x"}, "400 bad_request"),
        (WS.format(OPEN), {"method": "HEAD"}, "426"),
        ("/orders/x/ws", {"key": None}, "401 unauthorized"),
        ("/orders/x/ws", {"key": foreign}, "422 invalid_id"),
        (WS.format(ABSENT), {"key": foreign}, "401 unauthorized"),
        (WS.format(ABSENT) + "?types=*.a&after_seq=x", {}, "404 not_found"),
        (WS.format(ENDED) + "?types=*.a&after_seq=x", {}, "404 ended"),
        (WS.format(OPEN) + "?types=*.a&after_seq=x", {}, "422 invalid"),
        (WS.format(OPEN) + "?after_seq=x", {}, "400 bad_request"),
    ]
    assert [orders.answer(path, **UPGRADE | options) for path, options, _ in cases] == [want for *_, want in cases]
    full = [
        (WS.format(OPEN), "429 too_many"),
        (WS.format(OPEN) + "?types=*.a", "429 too_many"),
        (WS.format(OPEN) + "?after_seq=x", "429 too_many"),
        (WS.format(ENDED), "404 ended"),
    ]
    with orders.ask(SSE.format(OPEN)) as only:
        assert only.status == 200
        assert [orders.answer(path, **UPGRADE) for path, _ in full] == [want for _, want in full]
