"""What was refused is let go of with its answer, and not only when Python next looks for cycles."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.ledger.ledger import Ledger
from app.web.engine import engine_of
from tests.web.doors import Door

LARGE = 50_000  # bytes of a body
JSON, LINES = "application/json", "application/x-ndjson"


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def event(**changed: Any) -> bytes:
    told = {"stream": {"kind": "call", "id": "kept"}, "type": "note", "data": {"text": "x" * LARGE}}
    return json.dumps(told | changed).encode()


def kept(ask: Callable[[], object]) -> int:
    """How many bytes are still there after some requests."""
    for _ in range(2):
        ask()  # what is remembered of the first ones is no matter here
    tracemalloc.start()
    try:
        for _ in range(5):
            ask()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


BODIES = {
    "one that cannot be read": (JSON, event(type="?"), 422),
    "one whose stream has ended": (JSON, event(), 409),
    "an array": (JSON, b"[%b,%b]" % (event(), event(type="?")), 202),
    "lines": (LINES, event(type="?") + b"\n" + event() + b"\nnonsense\n", 202),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.usefixtures("no_collector")
def test_a_refused_body_is_let_go_of(acme: Door, name: str) -> None:
    form, body, status = BODIES[name]
    acme.publish("call", "kept", "note")
    engine_of(acme.app).ledger.end(acme.workspace_id, "call", "kept")

    def ask() -> None:
        headers = {"Authorization": f"Bearer {acme.key}"}
        answer = acme.client.post("/v1/events", data=body, content_type=form, headers=headers)
        assert answer.status_code == status, answer.text

    assert kept(ask) < LARGE


@pytest.mark.usefixtures("no_collector")
def test_a_body_whose_group_failed_is_let_go_of(acme: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Ledger, submissions: object, *, skip: bool) -> None:
        raise OperationalError("commit", {}, ConnectionError("away"))

    monkeypatch.setattr(Ledger, "_commit_once", fail)
    body = event()  # made once: the client of the test keeps it

    def ask() -> None:
        headers = {"Authorization": f"Bearer {acme.key}"}
        answer = acme.client.post("/v1/events", data=body, content_type=JSON, headers=headers)
        assert answer.status_code == 503, answer.text

    assert kept(ask) < LARGE
