"""A POST with an Idempotency-Key has one effect, however often and however concurrently it is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import text

from app.database.connection import Database
from tests.web.doors import EVERY_SCOPE, Door

KEY = {"Idempotency-Key": "order-66"}
BODY = {"url": "http://127.0.0.1:9/", "headers": {"X-Tag": "1"}}


def test_a_repeat_gets_the_first_answer_secret_included(acme: Door) -> None:
    first = acme.ask("POST", "/v1/endpoints", BODY, headers=KEY)
    again = acme.ask("POST", "/v1/endpoints", BODY, headers=KEY)
    assert (again.status_code, again.data) == (first.status_code, first.data) == (201, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(acme.get("/v1/endpoints")["data"]) == 1


def test_the_same_key_with_another_request_is_a_conflict(acme: Door) -> None:
    acme.post("/v1/endpoints", BODY, headers=KEY)
    for path, body in (
        ("/v1/endpoints", BODY | {"description": "x"}),
        ("/v1/keys", {"name": "k", "scopes": ["publish"]}),
    ):
        assert acme.post(path, body, 409, headers=KEY)["code"] == "idempotency_conflict"
    assert len(acme.get("/v1/endpoints")["data"]) == 1


def test_a_refused_request_does_not_use_its_key_up(acme: Door) -> None:
    acme.post("/v1/endpoints", {"url": "http://10.0.0.1/"}, 422, headers=KEY)
    acme.post("/v1/endpoints", BODY, 201, headers=KEY)


def test_a_key_belongs_to_the_api_key_that_sent_it(acme: Door, globex: Door, platform: Door) -> None:
    body = {"name": "k", "scopes": ["publish"]}
    other = Door(acme.app, acme.post("/v1/keys", {"name": "two", "scopes": EVERY_SCOPE})["key"])
    answers: list[Any] = [door.post("/v1/keys", body, headers=KEY) for door in (acme, globex, other)]
    answers += [platform.post("/v1/keys", body, headers=KEY | {"X-Workspace": name}) for name in ("acme", "globex")]
    assert len({answer["id"] for answer in answers}) == 5


def test_fifty_at_once_make_one_and_get_the_same_answer(acme: Door) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: acme.ask("POST", "/v1/endpoints", BODY, headers=KEY), range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.data for answer in answers}) == 1
    assert len(acme.get("/v1/endpoints")["data"]) == 1


def test_the_kept_answer_is_sealed(acme: Door, database: Database) -> None:
    made = acme.post("/v1/keys", {"name": "k", "scopes": ["publish"]}, headers=KEY)
    with database.begin() as connection:
        kept = connection.execute(text("SELECT sealed_body FROM idempotent_requests")).scalar_one()
    assert made["key"].encode() not in bytes(kept)
