"""A consumer's loop goes on over what passes, and ends with what does not."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.client.sse_server import serving
from twofold import Client, Refused


def page(lease: str | None, *ids: str) -> dict[str, Any]:
    return {"lease": lease, "data": [{"cursor": id, "event": {"id": id}} for id in ids], "cursor": "c", "more": False}


class Server:
    """Answers with these, one after the other: a status and a body (text as it is), None for a cut, bytes for a cut
    behind them. asked: path, body and key."""

    def __init__(self, *answers: tuple[int, dict[str, Any] | str] | bytes | None) -> None:
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self._answers = answers

    def __call__(self, request: BaseHTTPRequestHandler, count: int) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self.asked.append((request.path.rsplit("/", 1)[1], body, request.headers["Idempotency-Key"]))
        answer = self._answers[count]
        if answer is None:
            return
        status, body = (200, answer.decode()) if isinstance(answer, bytes) else answer
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        request.send_response(status)
        request.send_header("Content-Length", "999" if isinstance(answer, bytes) else str(len(text)))
        request.end_headers()
        request.wfile.write(text)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("calls", "consumers"):
        monkeypatch.setattr(f"twofold.{name}.FIRST_WAIT_SECONDS", 0.001)


def test_pages_come_over_outages_and_each_is_committed_behind_its_handling(caplog: pytest.LogCaptureFixture) -> None:
    held, lost = (409, {"code": "lease_held"}), (409, {"code": "lease_lost"})
    away = [None, (503, {}), (502, {}), (500, {})]  # one call's tries, all in vain
    server = Server(
        *away, (200, page("l1", "a", "b")), *away, (200, {}), held, (200, page("l2", "c")), lost, (200, page(None))
    )
    with serving(server) as url, Client(url, "pk") as client:
        found = [[entry["event"]["id"] for entry in one] for _, one in zip(range(3), pages(client), strict=False)]
    assert found == [["a", "b"], ["c"], []]
    assert [body["lease"] for what, body, _ in server.asked if what == "commit"] == ["l1"] * 5 + ["l2"]
    keys = [key for what, _, key in server.asked if what == "read"]
    assert len(set(keys[:5])) == 1, "a read that is repeated has the same lease"
    assert len(set(keys)) == 3
    assert "longer than its lease" in caplog.text


def test_an_answer_that_is_cut_in_the_middle_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(*[b'{"lease": "'] * 5, (200, '{"lease": '), (200, page("l1", "a")))
    with serving(server) as url, Client(url, "pk") as client:
        assert [entry["event"]["id"] for entry in next(iter(pages(client)))] == ["a"]
    assert len({key for _, _, key in server.asked}) == 1
    assert caplog.text.count("did not answer") == 1, "a warning, once"


def test_a_consumer_is_given_its_content_filter() -> None:
    server = Server((200, {}))
    with serving(server) as url, Client(url, "pk") as client:
        client.consumers.put("billing", types=["call.*"], content_filter={"path": "/amount", "gte": 100})
    assert server.asked[0][1] == {"types": ["call.*"], "content_filter": {"path": "/amount", "gte": 100}}


def test_what_waiting_does_not_mend_ends_the_loop() -> None:
    gone = Server((410, {"code": "cursor_gone", "cursor": "c9"}))
    with serving(gone) as url, Client(url, "pk") as client, pytest.raises(Refused) as refused:
        next(iter(pages(client)))
    assert refused.value.problem["cursor"] == "c9"


def pages(client: Client) -> Any:
    return client.consumers.pages("billing", wait=0)
