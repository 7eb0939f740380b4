"""Endpoints: registered, filtered, sealed, rotated, disabled, tested, recovered, deleted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from standardwebhooks import Webhook

from app import create_app
from app.accounts.keys import SCOPES, create_key
from app.core.webhook import signing
from app.database.connection import Database
from app.settings import Settings
from app.web.engine import engine_of
from tests.web.conftest import open_workspace
from tests.web.doors import Door

URL = "http://127.0.0.1:9/in"
HIDDEN = "Bearer of bad news"


def register(door: Door, **fields: Any) -> Any:
    return door.post("/v1/endpoints", {"url": URL, **fields})


def deliveries(door: Door, endpoint: str, status: str = "") -> list[Any]:
    wanted = f"&status={status}" if status else ""
    return list(door.get(f"/v1/deliveries?endpoint_id={endpoint}{wanted}")["data"])


def test_what_is_registered_is_read_back_changed_and_listed(acme: Door) -> None:
    fields = {"description": "Ünïcode 😀", "event_types": ["call.*"], "stream_kinds": ["call"], "rate_limit": 7}
    made = register(acme, **fields)
    path = f"/v1/endpoints/{made['id']}"
    read = acme.get(path)
    assert read == {name: value for name, value in made.items() if name not in ("secret", "former")}
    assert {name: read[name] for name in fields} == fields
    changed = acme.patch(path, {"event_types": None, "rate_limit": None, "description": ""})
    assert (changed["event_types"], changed["rate_limit"], changed["description"]) == (None, None, "")
    assert changed["stream_kinds"] == ["call"]
    assert acme.get("/v1/endpoints")["data"] == [changed]


def test_header_values_and_secrets_are_sealed_at_rest_and_never_shown_again(acme: Door, database: Database) -> None:
    made = register(acme, headers={"Authorization": HIDDEN, "X-Tag": "1"})
    assert made["header_names"] == ["Authorization", "X-Tag"]
    for path in ("/v1/endpoints", f"/v1/endpoints/{made['id']}"):
        shown = acme.ask("GET", path).get_data(as_text=True)
        assert HIDDEN not in shown
        assert made["secret"] not in shown
    with database.begin() as connection:
        stored = connection.execute(
            text("SELECT sealed_headers, sealed FROM endpoints JOIN endpoint_secrets s ON s.endpoint_id = endpoints.id")
        ).one()
    assert HIDDEN.encode() not in bytes(stored.sealed_headers)
    assert made["secret"].encode() not in bytes(stored.sealed)
    assert acme.patch(f"/v1/endpoints/{made['id']}", {"headers": None})["header_names"] == []


def test_the_secret_verifies_what_it_signs(acme: Door) -> None:
    made = register(acme)
    assert acme.get(f"/v1/endpoints/{made['id']}/secret")["secret"] == made["secret"]
    now = int(datetime.now(UTC).timestamp())
    signature = signing.sign([made["secret"]], "evt_1", now, b'{"a":1}')
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now), "webhook-signature": signature}
    assert Webhook(made["secret"]).verify('{"a":1}', headers) == {"a": 1}


def test_a_rotated_secret_signs_until_its_time_is_up(acme: Door, database: Database) -> None:
    first = register(acme)
    rotate = f"/v1/endpoints/{first['id']}/secret/rotate"
    second = acme.post(rotate, status=200)
    assert second["secret"] != first["secret"]
    (former,) = second["former"]
    assert former["secret"] == first["secret"]
    left = datetime.fromisoformat(former["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    with database.begin() as connection:
        connection.execute(text("UPDATE endpoint_secrets SET expires_at = now() WHERE expires_at IS NOT NULL"))
    assert acme.get(f"/v1/endpoints/{first['id']}/secret") == {"secret": second["secret"], "former": []}


def test_rotating_in_a_loop_keeps_a_bounded_number_of_secrets(acme: Door) -> None:
    made = register(acme)
    for _ in range(12):
        answer = acme.post(f"/v1/endpoints/{made['id']}/secret/rotate", status=200)
    assert len(answer["former"]) == 8


def test_an_ed25519_endpoint_has_a_public_key_besides(acme: Door) -> None:
    made = register(acme, signing="ed25519")
    assert made["secret"].startswith("whsec_")
    assert made["public_key"].startswith("whpk_")
    rotated = acme.post(f"/v1/endpoints/{made['id']}/secret/rotate", status=200)
    assert rotated["public_key"] != made["public_key"]
    assert {name for former in rotated["former"] for name in former} == {"secret", "public_key", "expires_at"}
    assert "whsk_" not in str([made, rotated])


def test_a_former_secret_key_still_opens_what_it_sealed(
    settings: Settings, platform: Door, environ: dict[str, str]
) -> None:
    acme = open_workspace(platform, "acme")
    made = register(acme, headers={"X-Tag": "1"})
    renewed = create_app(
        Settings.from_env({**environ, "SECRET_KEY": "fedcba9876543210" * 4, "SECRET_KEY_PREVIOUS": settings.secret_key})
    )
    try:
        door = Door(renewed, acme.key, acme.workspace_id)
        assert door.get(f"/v1/endpoints/{made['id']}/secret")["secret"] == made["secret"]
        assert door.get(f"/v1/endpoints/{made['id']}")["header_names"] == ["X-Tag"]
    finally:
        engine_of(renewed).close()


def test_disabling_cancels_what_is_pending_and_stops_new_deliveries(acme: Door) -> None:
    made = register(acme)
    acme.publish("call", "c1", "call.started")
    assert [one["status"] for one in deliveries(acme, made["id"])] == ["pending"]
    off = acme.patch(f"/v1/endpoints/{made['id']}", {"status": "disabled"})
    assert (off["status"], off["disabled_reason"]) == ("disabled", "disabled_by_owner")
    assert off["disabled_at"] is not None
    (cancelled,) = deliveries(acme, made["id"])
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "endpoint_disabled")
    acme.publish("call", "c1", "call.ended")
    assert len(deliveries(acme, made["id"])) == 1


def test_enabling_forgets_how_bad_it_was(acme: Door, database: Database) -> None:
    made = register(acme)
    with database.begin() as connection:
        connection.execute(
            text(
                "UPDATE endpoints SET status = 'disabled', disabled_reason = 'failing', disabled_at = now(),"
                " consecutive_failures = 9, failing_since = now(), last_outcome = 'timeout'"
            )
        )
    on = acme.patch(f"/v1/endpoints/{made['id']}", {"status": "enabled"})
    assert (on["status"], on["disabled_reason"], on["disabled_at"]) == ("enabled", None, None)
    assert (on["consecutive_failures"], on["failing_since"]) == (0, None)


def test_a_deleted_endpoint_leaves_its_deliveries_readable(acme: Door) -> None:
    made = register(acme)
    acme.publish("call", "c1", "call.started")
    acme.delete(f"/v1/endpoints/{made['id']}")
    acme.get(f"/v1/endpoints/{made['id']}", 404)
    (cancelled,) = deliveries(acme, made["id"])
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "endpoint_deleted")
    problem = acme.post(f"/v1/deliveries/{cancelled['id']}/retry", status=409)
    assert "deleted" in problem["detail"]


def test_a_test_goes_to_the_one_endpoint_whatever_its_filters_say(acme: Door) -> None:
    asked = register(acme, event_types=["nothing.like.it"])
    other = register(acme)
    event = acme.post(f"/v1/endpoints/{asked['id']}/test", status=202)
    (delivery,) = deliveries(acme, asked["id"])
    assert (delivery["event_id"], delivery["event_type"]) == (event["id"], "twofold.test")
    assert deliveries(acme, other["id"]) == []
    acme.patch(f"/v1/endpoints/{asked['id']}", {"status": "disabled"})
    assert "enable it first" in acme.post(f"/v1/endpoints/{asked['id']}/test", status=409)["detail"]


def test_a_test_repeated_under_one_key_is_one_event(acme: Door) -> None:
    made = register(acme)
    key = {"Idempotency-Key": "again"}
    first = acme.post(f"/v1/endpoints/{made['id']}/test", status=202, headers=key)
    second = acme.post(f"/v1/endpoints/{made['id']}/test", status=200, headers=key)
    assert second == first | {"duplicate": True}
    assert len(deliveries(acme, made["id"])) == 1


def test_tests_under_two_long_keys_are_two_events(acme: Door) -> None:
    made = register(acme)
    for last in "ab":
        key = {"Idempotency-Key": "k" * 254 + last}
        acme.post(f"/v1/endpoints/{made['id']}/test", status=202, headers=key)
        acme.post(f"/v1/endpoints/{made['id']}/test", status=200, headers=key)
    assert len(deliveries(acme, made["id"])) == 2


def test_recovering_brings_back_what_was_cancelled_and_what_was_missed(acme: Door) -> None:
    since = datetime.now(UTC).isoformat()
    made = register(acme, event_types=["call.*"])
    path = f"/v1/endpoints/{made['id']}"
    acme.publish("call", "c1", "call.started")
    acme.patch(path, {"status": "disabled"})
    acme.publish("call", "c1", "call.missed")
    acme.publish("call", "c1", "other.type")
    assert acme.post(f"{path}/recover", {"since": since}, 409)["code"] == "conflict"
    acme.patch(path, {"status": "enabled"})
    assert acme.post(f"{path}/recover", {"since": since}, 202) == {"retried": 1, "missed": 1, "complete": True}
    assert sorted(one["event_type"] for one in deliveries(acme, made["id"], "pending")) == [
        "call.missed",
        "call.started",
    ]


def test_the_number_of_endpoints_has_a_limit(environ: dict[str, str], database: Database) -> None:
    app = create_app(Settings.from_env({**environ, "MAX_ENDPOINTS": "2"}))
    try:
        with database.session() as session:
            platform = Door(app, create_key(session, name="p", scopes=SCOPES, workspace_id=None).key)
        acme = open_workspace(platform, "acme")
        first = register(acme)
        register(acme)
        problem = acme.post("/v1/endpoints", {"url": URL}, 429)
        assert problem["code"] == "too_many"
        acme.delete(f"/v1/endpoints/{first['id']}")
        register(acme)
    finally:
        engine_of(app).close()


@pytest.mark.parametrize("wanted", ["PATCH", "POST"])
def test_a_refused_field_changes_nothing(acme: Door, wanted: str) -> None:
    made = register(acme)
    fields = {"description": "new", "url": "http://10.0.0.1/", "headers": {"Host": "a", "X-Ok": "1"}}
    if wanted == "PATCH":
        problem = acme.patch(f"/v1/endpoints/{made['id']}", fields, 422)
    else:
        problem = acme.post("/v1/endpoints", fields, 422)
    assert [error["field"] for error in problem["errors"]] == ["url", "headers.Host"]
    (read,) = acme.get("/v1/endpoints")["data"]
    assert (read["description"], read["url"]) == ("", URL)


def test_statistics_are_those_of_the_endpoint(acme: Door) -> None:
    made, other = register(acme), register(acme, event_types=["none"])
    acme.publish("call", "c1", "call.started")
    assert acme.get(f"/v1/endpoints/{made['id']}/stats")["pending"] == 1
    assert acme.get(f"/v1/endpoints/{other['id']}/stats")["pending"] == 0


def test_ids_are_prefixed_and_sort_by_time(app: Flask, acme: Door) -> None:
    made = [register(acme)["id"] for _ in range(3)]
    assert all(re.fullmatch(r"ep_[0-9a-z]{26}", one) for one in made)
    assert [row["id"] for row in acme.get("/v1/endpoints")["data"]] == sorted(made, reverse=True)


def test_a_whole_number_may_be_written_with_a_fraction_of_nothing(acme: Door) -> None:
    """JSON Schema's integers: some encoders write 7.0."""
    made = acme.client.post(
        "/v1/endpoints",
        data=b'{"url":"https://example.com/","rate_limit":7.0}',
        headers={"Authorization": f"Bearer {acme.key}", "Content-Type": "application/json"},
    )
    assert (made.status_code, made.get_json()["rate_limit"]) == (201, 7)
    assert b'"rate_limit":7,' in made.data
