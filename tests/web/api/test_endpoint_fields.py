"""An endpoint's own fields over HTTP: its name, metadata, secret, state, time-out, schedule, channels and filter."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.database.connection import Database
from tests.web.doors import Door

URL = "http://127.0.0.1:9/in"
SECRET = "whsec_" + base64.b64encode(hashlib.sha256(b"one").digest()).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(hashlib.sha512(b"two").digest()).decode()
FIELDS: dict[str, Any] = {
    "metadata": {"team": "billing", "tier": "Ünïcode 😀"},
    "channels": ["project-7", "all"],
    "content_filter": {"and": [{"path": "/amount", "gte": 100}, {"not": {"path": "/test", "eq": True}}]},
    "timeout_seconds": 3,
    "retry_delays_seconds": [1, 60, 3600],
}


def register(door: Door, status: int = 201, **fields: Any) -> Any:
    return door.post("/v1/endpoints", {"url": URL, **fields}, status)


def put(door: Door, path: str, status: int = 201, **fields: Any) -> Any:
    answer = door.ask("PUT", path, {"url": URL, **fields})
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_json()


def publish(door: Door, data: dict[str, Any], *channels: str) -> str:
    event = {"stream": {"kind": "call", "id": "one"}, "type": "call.turn", "data": data, "channels": list(channels)}
    return str(door.post("/v1/events", event, 202)["id"])


def delivered(door: Door, event_id: str) -> set[str]:
    return {row["endpoint_id"] for row in door.get(f"/v1/events/{event_id}/deliveries")["data"]}


def test_what_is_given_is_read_back_changed_and_cleared(acme: Door) -> None:
    made = register(acme, uid="billing", **FIELDS)
    assert {name: made[name] for name in FIELDS} == FIELDS
    path = f"/v1/endpoints/{made['id']}"
    assert acme.get(path)["uid"] == "billing"
    changed = acme.patch(path, {**dict.fromkeys(FIELDS), "uid": None})
    assert [changed[name] for name in ("metadata", "channels", "content_filter")] == [{}, None, None]
    assert [changed[name] for name in ("timeout_seconds", "retry_delays_seconds", "uid")] == [None, None, None]
    assert acme.ask("GET", "/v1/endpoints/billing").status_code == 404


def test_large_and_small_numbers_of_a_filter_are_shown_as_they_were_given(acme: Door) -> None:
    wanted = {"path": "/n", "in": [12345678901234567890123, 1e308, 0.1, 1.0]}
    made = register(acme, content_filter=wanted)
    assert acme.get(f"/v1/endpoints/{made['id']}")["content_filter"] == wanted


REFUSED = [
    ({"uid": "ep_1"}, "uid", "must not start with ep_"),
    ({"uid": "a b"}, "uid", "letters, digits"),
    ({"metadata": {"a": 1}}, "metadata.a", "must be a string"),
    ({"metadata": {"": "x"}}, "metadata.", "1 to 64 letters"),
    ({"metadata": {"a": "x" * 501}}, "metadata.a", "at most 500"),
    ({"metadata": {str(number): "" for number in range(51)}}, "metadata", "at most 50"),
    ({"secret": "whsec_" + "A" * 43 + "="}, "secret", "too easy to guess"),
    ({"secret": "whsec_" + base64.b64encode(bytes(range(32))).decode()}, "secret", "too easy to guess"),
    ({"secret": SECRET[:-1]}, "secret", "24 to 64"),
    ({"secret": "whsec_" + base64.b64encode(b"x" * 23).decode()}, "secret", "24 to 64"),
    ({"secret": "whsk_" + SECRET[6:]}, "secret", "24 to 64"),
    ({"enabled": "no"}, "enabled", "true or false"),
    ({"timeout_seconds": 0}, "timeout_seconds", "from 1 to 60"),
    ({"timeout_seconds": 61}, "timeout_seconds", "from 1 to 60"),
    ({"retry_delays_seconds": []}, "retry_delays_seconds", "1 to 30 entries"),
    ({"retry_delays_seconds": [1] * 31}, "retry_delays_seconds", "1 to 30 entries"),
    ({"retry_delays_seconds": [1, 0]}, "retry_delays_seconds[1]", "from 1 to"),
    ({"retry_delays_seconds": [1.5]}, "retry_delays_seconds[0]", "whole number"),
    ({"retry_delays_seconds": 5}, "retry_delays_seconds", "an array of numbers"),
    ({"retry_delays_seconds": [86_000, 401]}, "retry_delays_seconds", "more than the delivery window"),
    ({"channels": []}, "channels", "1 to 100"),
    ({"channels": ["a b"]}, "channels[0]", "letters"),
    ({"content_filter": {"path": "/a"}}, "content_filter", "tests nothing"),
    ({"content_filter": {"or": [{"path": "b", "eq": 1}]}}, "content_filter.or[0].path", "JSON Pointer"),
]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_cannot_be_is_refused_with_its_place(acme: Door, method: str) -> None:
    for fields, place, words in REFUSED:
        if method == "PUT" and "uid" in fields:
            continue
        path = "/v1/endpoints" if method == "POST" else "/v1/endpoints/mine"
        answer = acme.ask(method, path, {"url": URL, **fields})
        assert answer.status_code == 422, fields
        (error, *_) = answer.get_json()["errors"]
        assert error["field"] == place
        assert words in error["detail"], error
    assert acme.get("/v1/endpoints")["data"] == []


def test_a_uid_stands_wherever_an_id_may(acme: Door, globex: Door) -> None:
    made = register(acme, uid="billing")
    path = "/v1/endpoints/billing"
    assert acme.get(path)["id"] == made["id"]
    assert acme.get(f"{path}/secret")["secret"] == made["secret"]
    assert acme.post(f"{path}/secret/rotate", status=200)["secret"] != made["secret"]
    assert acme.post(f"{path}/test", status=202)["stream"]["id"] == "tests"
    assert acme.get(f"{path}/stats")["deliveries"]["pending"] == 1
    assert acme.post(f"{path}/recover", {"since": "2026-01-01T00:00:00Z"}, 202)["complete"] is True
    assert [one["endpoint_id"] for one in acme.get("/v1/deliveries?endpoint_id=billing")["data"]] == [made["id"]]
    assert acme.get("/v1/deliveries?endpoint_id=nobody")["data"] == []
    event_id = acme.get("/v1/deliveries?endpoint_id=billing")["data"][0]["event_id"]
    assert acme.get(f"/v1/events/{event_id}/explain?endpoint_id=billing")["data"][0]["code"] == "due"
    assert [one["state"] for one in acme.get(f"{path}/changes")["data"]] == ["enabled"]
    assert acme.patch(path, {"description": "x"})["description"] == "x"
    for foreign in (path, f"{path}/secret", f"{path}/stats", f"{path}/changes", "/v1/endpoints/nobody"):
        assert globex.ask("GET", foreign).status_code == 404
    assert globex.get("/v1/deliveries?endpoint_id=billing")["data"] == []
    assert register(globex, uid="billing")["id"] != made["id"]
    assert acme.ask("DELETE", path).status_code == 204
    assert acme.ask("GET", path).status_code == 404


def test_a_uid_is_unique_in_its_workspace(acme: Door) -> None:
    register(acme, uid="one")
    other = register(acme, uid="two")
    assert "replace it by PUT" in register(acme, 409, uid="one")["detail"]
    answer = acme.ask("PATCH", f"/v1/endpoints/{other['id']}", {"uid": "one"})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "conflict")
    assert acme.patch("/v1/endpoints/two", {"uid": "two"})["uid"] == "two"


def test_put_makes_and_then_replaces(acme: Door) -> None:
    made = put(acme, "/v1/endpoints/mine", headers={"X-A": "1"}, secret=SECRET, **FIELDS)
    assert (made["uid"], made["secret"], made["header_names"]) == ("mine", SECRET, ["X-A"])
    same = put(acme, "/v1/endpoints/mine", 200, headers={"X-A": "1"}, secret=SECRET, **FIELDS)
    assert same == made  # its time of change, too
    bare = put(acme, f"/v1/endpoints/{made['id']}", 200, description="bare")
    assert (bare["id"], bare["uid"], bare["description"], bare["secret"]) == (made["id"], "mine", "bare", SECRET)
    assert (bare["metadata"], bare["header_names"], bare["content_filter"], bare["channels"]) == ({}, [], None, None)
    rotated = put(acme, "/v1/endpoints/mine", 200, secret=OTHER_SECRET)
    assert rotated["secret"] == OTHER_SECRET
    assert [former["secret"] for former in rotated["former"]] == [SECRET]
    assert len(put(acme, "/v1/endpoints/mine", 200, secret=OTHER_SECRET)["former"]) == 1
    assert put(acme, "/v1/endpoints/mine", 409, signing="ed25519")["code"] == "conflict"
    assert acme.ask("PUT", "/v1/endpoints/ep_00000000000000000000000000", {"url": URL}).status_code == 404
    assert acme.ask("PUT", "/v1/endpoints/mine", {}).status_code == 422


def test_put_keeps_the_state_unless_it_is_given(acme: Door) -> None:
    assert put(acme, "/v1/endpoints/mine", enabled=False)["status"] == "disabled"
    assert put(acme, "/v1/endpoints/mine", 200)["disabled_reason"] == "disabled_by_owner"
    assert put(acme, "/v1/endpoints/mine", 200, enabled=True)["status"] == "enabled"
    assert put(acme, "/v1/endpoints/mine", 200)["status"] == "enabled"


def test_many_puts_at_once_make_one_endpoint(acme: Door) -> None:
    def one(number: int) -> tuple[int, str]:
        answer = acme.ask("PUT", "/v1/endpoints/mine", {"url": URL, "description": str(number)})
        return answer.status_code, answer.get_json()["id"]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(one, range(8)))
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert len({id for _, id in answers}) == 1


def test_a_secret_of_ones_own_signs_beside_a_signing_key(acme: Door) -> None:
    made = register(acme, secret=SECRET, signing="ed25519")
    assert made["secret"] == SECRET
    assert made["public_key"].startswith("whpk_")


def test_an_endpoint_that_is_made_disabled_gets_nothing_until_it_is_enabled(acme: Door) -> None:
    made = register(acme, enabled=False)
    assert (made["status"], made["disabled_reason"]) == ("disabled", "disabled_by_owner")
    assert made["disabled_at"] == made["created_at"]
    assert delivered(acme, publish(acme, {})) == set()
    acme.patch(f"/v1/endpoints/{made['id']}", {"status": "enabled"})
    assert delivered(acme, publish(acme, {})) == {made["id"]}
    states = [(one["state"], one["reason"]) for one in acme.get(f"/v1/endpoints/{made['id']}/changes")["data"]]
    assert states == [("enabled", None), ("disabled", "disabled_by_owner")]


@pytest.fixture
def filtered(acme: Door) -> dict[str, str]:
    """Endpoints by what they ask for."""
    wanted: dict[str, dict[str, Any]] = {
        "all": {},
        "rich": {"content_filter": {"path": "/amount", "gte": 100}},
        "seven": {"channels": ["project-7", "x"]},
        "both": {"channels": ["project-7"], "content_filter": {"path": "/amount", "gte": 100}},
        "other type": {"event_types": ["bot.*"], "content_filter": {"path": "/amount", "gte": 100}},
    }
    return {register(acme, **fields)["id"]: name for name, fields in wanted.items()}


def test_an_event_goes_to_those_whose_channels_and_content_it_has(acme: Door, filtered: dict[str, str]) -> None:
    def get(data: dict[str, Any], *channels: str) -> set[str]:
        return {filtered[id] for id in delivered(acme, publish(acme, data, *channels))}

    assert get({"amount": 100.0}) == {"all", "rich"}
    assert get({"amount": 99}) == {"all"}
    assert get({"amount": "100"}, "project-7") == {"all", "seven"}
    assert get({"amount": 1e3}, "y", "project-7") == {"all", "rich", "seven", "both"}
    assert get({}, "y") == {"all"}


def test_what_was_filtered_out_is_explained(acme: Door, filtered: dict[str, str]) -> None:
    event_id = publish(acme, {"amount": 99}, "y")
    explained = acme.get(f"/v1/events/{event_id}/explain")["data"]
    told = {filtered[one["endpoint_id"]]: (one["code"], one["sentence"]) for one in explained}
    words = "Filtered out by content_filter: /amount must be at least 100, and it is 99."
    assert told["rich"] == ("filtered_content", words)
    words = "Filtered out: the endpoint takes the channels project-7, x; this event carries y."
    assert told["seven"] == ("filtered_channel", words)
    assert [told[name][0] for name in ("all", "other type")] == ["due", "filtered_type"]


def test_a_changed_filter_is_in_force_at_once(acme: Door) -> None:
    made = register(acme, content_filter={"path": "/a", "eq": 1})
    assert delivered(acme, publish(acme, {"a": 2})) == set()
    acme.patch(f"/v1/endpoints/{made['id']}", {"content_filter": {"path": "/a", "eq": 2}})
    assert delivered(acme, publish(acme, {"a": 2})) == {made["id"]}
    acme.patch(f"/v1/endpoints/{made['id']}", {"channels": ["c"], "content_filter": None})
    assert delivered(acme, publish(acme, {"a": 2})) == set()
    acme.patch(f"/v1/endpoints/{made['id']}", {"channels": None})
    assert delivered(acme, publish(acme, {"a": 3})) == {made["id"]}


def test_recover_brings_what_the_filters_of_now_let_through(acme: Door) -> None:
    wanted = [publish(acme, {"amount": amount}, *channels) for amount, channels in ((100, ["c"]), (101, ["c"]))]
    for amount, channels in ((99, ["c"]), (100, []), (100, ["d"])):
        publish(acme, {"amount": amount}, *channels)
    made = register(acme, content_filter={"path": "/amount", "gte": 100}, channels=["c"])
    answer = acme.post(f"/v1/endpoints/{made['id']}/recover", {"since": "2026-01-01T00:00:00Z"}, 202)
    assert answer == {"retried": 0, "missed": 2, "complete": True}
    assert {row["event_id"] for row in acme.get("/v1/deliveries")["data"]} == set(wanted)


def test_a_history_is_kept_short_and_goes_with_its_endpoint(acme: Door, database: Database) -> None:
    made = register(acme)
    with database.begin() as connection:
        for _ in range(60):
            for status in ("disabled", "enabled"):
                connection.exec_driver_sql(f"UPDATE endpoints SET status = '{status}', disabled_reason = 'x'")
    changes = acme.get(f"/v1/endpoints/{made['id']}/changes")["data"]
    assert [change["state"] for change in changes] == ["enabled", "disabled"] * 50
    assert acme.ask("DELETE", f"/v1/endpoints/{made['id']}").status_code == 204
    with database.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM endpoint_changes").scalar_one() == 0


FAIL = "UPDATE endpoints SET failing_since = now() - interval '{age}', last_outcome = 'timeout'"
SUCCEED = "UPDATE endpoints SET failing_since = NULL, last_outcome = 'success'"


def test_a_failure_is_noted_once_it_has_lasted_for_a_minute(acme: Door, database: Database) -> None:
    made = register(acme)

    def states(*statements: str) -> list[tuple[str, str | None]]:
        with database.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        changes = acme.get(f"/v1/endpoints/{made['id']}/changes")["data"]
        return [(change["state"], change["reason"]) for change in changes]

    enabled = ("enabled", None)
    assert states(FAIL.format(age="30 s"), SUCCEED) == [enabled]
    assert states(FAIL.format(age="2 min")) == [("failing", "timeout"), enabled]
    assert states(SUCCEED) == [("recovered", None), ("failing", "timeout"), enabled]
    ended = "UPDATE endpoints SET status = 'disabled', disabled_reason = 'endpoint_failing: x'"
    (last, before, *_) = states(FAIL.format(age="5 days"), ended)
    assert (last, before) == (("disabled", "endpoint_failing: x"), ("failing", "timeout"))
    acme.patch(f"/v1/endpoints/{made['id']}", {"status": "enabled"})
    assert [state for state, _ in states()][:2] == ["enabled", "disabled"]


def test_batches_are_read_back_changed_completed_and_ended(acme: Door) -> None:
    made = register(acme, batch={"max_events": 7})
    assert made["batch"] == {"max_events": 7, "max_wait_ms": 1000}
    path = f"/v1/endpoints/{made['id']}"
    assert acme.patch(path, {"description": "x"})["batch"] == made["batch"]
    assert acme.patch(path, {"batch": {"max_wait_ms": 0}})["batch"] == {"max_events": 100, "max_wait_ms": 0}
    assert acme.patch(path, {"batch": {}})["batch"] == {"max_events": 100, "max_wait_ms": 1000}
    assert acme.patch(path, {"batch": None})["batch"] is None
    assert put(acme, "/v1/endpoints/in-batches", batch={"max_events": 1000, "max_wait_ms": 60_000})["batch"]
    assert put(acme, "/v1/endpoints/in-batches", 200)["batch"] is None
    assert register(acme)["batch"] is None


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        ({"max_events": 0}, "batch.max_events"),
        ({"max_events": 1001}, "batch.max_events"),
        ({"max_events": True}, "batch.max_events"),
        ({"max_events": "10"}, "batch.max_events"),
        ({"max_events": None}, "batch.max_events"),
        ({"max_wait_ms": -1}, "batch.max_wait_ms"),
        ({"max_wait_ms": 60_001}, "batch.max_wait_ms"),
        ({"max_wait_ms": 0.5}, "batch.max_wait_ms"),
        ({"max_wait": 5}, "batch.max_wait"),
        ([], "batch"),
        (100, "batch"),
    ],
)
def test_a_batch_beyond_its_bounds_is_refused_beside_its_field(acme: Door, batch: Any, field: str) -> None:
    assert [error["field"] for error in register(acme, 422, batch=batch)["errors"]] == [field]
