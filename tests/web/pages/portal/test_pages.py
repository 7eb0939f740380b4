"""What a customer does in the portal."""

from __future__ import annotations

import re
from collections.abc import Callable

from app.database.connection import Database
from app.web.pages.endpoint_form import NAMES
from tests.web.doors import Door
from tests.web.pages.portal.guests import GuestAtPortal
from tests.web.pages.test_endpoint_form import EVERYTHING

Enter = Callable[..., GuestAtPortal]
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


def test_an_endpoint_is_added_its_secret_shown_once_changed_paused_and_deleted(acme: Door, enter: Enter) -> None:
    guest = enter(acme)
    fields = {"url": "http://127.0.0.1:9/new", "description": "the shop", "event_types": "call.*\nbot.joined",
              "rate_limit": "5", "headers": "Authorization: Bearer x\nX-Shop: 7", "signing": "hmac"}  # fmt: skip
    page = guest.send("/portal/endpoints", **fields).get_data(as_text=True)
    (secret,) = set(SECRET.findall(page))
    (made,) = acme.get("/v1/endpoints")["data"]
    assert acme.get(f"/v1/endpoints/{made['id']}/secret")["secret"] == secret
    assert made["event_types"] == ["call.*", "bot.joined"]
    assert made["rate_limit"] == 5
    assert made["header_names"] == ["Authorization", "X-Shop"]
    here = f"/portal/endpoints/{made['id']}"
    assert not SECRET.search(guest.get(here))
    assert "Bearer x" not in guest.get(f"{here}/edit")
    assert guest.send(here, url="http://127.0.0.1:9/moved", event_types="").status_code == 303
    changed = acme.get(f"/v1/endpoints/{made['id']}")
    assert (changed["url"], changed["event_types"], changed["rate_limit"]) == ("http://127.0.0.1:9/moved", None, None)
    assert changed["header_names"] == ["Authorization", "X-Shop"]
    guest.send(here, url="http://127.0.0.1:9/moved", clear_headers="1")
    assert acme.get(f"/v1/endpoints/{made['id']}")["header_names"] == []
    rotated = SECRET.findall(guest.send(f"{here}/rotate").get_data(as_text=True))
    assert set(rotated) == {acme.get(f"/v1/endpoints/{made['id']}/secret")["secret"]} != {secret}
    assert guest.send(f"{here}/state", status="disabled").status_code == 303
    assert "Paused" in guest.get(here)
    assert guest.send(f"{here}/test").status_code == 409
    assert guest.send(f"{here}/state", status="enabled").status_code == 303
    assert guest.send(f"{here}/delete").status_code == 303
    assert acme.get("/v1/endpoints")["data"] == []


def test_what_is_wrong_with_a_form_is_said_beside_its_field(acme: Door, enter: Enter) -> None:
    guest = enter(acme)
    response = guest.send("/portal/endpoints", url="http://10.0.0.1/", event_types="not a type!", rate_limit="many",
                          headers="no colon", description="kept <b>")  # fmt: skip
    assert response.status_code == 422
    page = response.get_data(as_text=True)
    assert {"event_types-wrong", "rate_limit-wrong", "headers-wrong"} <= set(re.findall(r'id="([\w-]+)"', page))
    assert "kept &lt;b&gt;" in page
    response = guest.send("/portal/endpoints", url="http://10.0.0.1/")
    assert response.status_code == 422
    assert 'id="url-wrong"' in response.get_data(as_text=True)
    assert acme.get("/v1/endpoints")["data"] == []


def test_a_test_event_of_any_type_brings_the_types_example(acme: Door, enter: Enter) -> None:
    guest = enter(acme, "manage", "operate")
    endpoint = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in", "event_types": ["nothing.else"]})["id"]
    types = re.findall(r'<h2 id="type-\d+" class="mono">([\w.]+)</h2>', guest.get("/portal/types"))
    assert "call.started" in types or len(types) > 20
    for type in (types[0], ""):
        assert guest.send(f"/portal/endpoints/{endpoint}/test", type=type).status_code == 303
    seen = [row["event_type"] for row in acme.get("/v1/deliveries")["data"]]
    assert seen == ["twofold.test", types[0]]
    assert guest.send(f"/portal/endpoints/{endpoint}/test", type="made.up").status_code == 422
    assert types[0] in guest.get("/portal/deliveries")


def test_a_delivery_is_retried_and_an_endpoint_recovered(acme: Door, enter: Enter, database: Database) -> None:
    guest = enter(acme)
    endpoint = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in"})["id"]
    acme.publish("call", "c1", "call.started")
    acme.patch(f"/v1/endpoints/{endpoint}", {"status": "disabled"})
    acme.patch(f"/v1/endpoints/{endpoint}", {"status": "enabled"})
    (row,) = acme.get("/v1/deliveries")["data"]
    assert row["status"] == "cancelled"
    response = guest.send(f"/portal/endpoints/{endpoint}/recover", since="24h")
    assert response.headers["Location"].endswith("done=recovered")
    assert guest.send(f"/portal/endpoints/{endpoint}/recover", since="1h").headers["Location"].endswith("-none")
    assert guest.send(f"/portal/endpoints/{endpoint}/recover", since="soon").status_code == 422
    assert guest.send(f"/portal/deliveries/{row['id']}/retry").status_code == 303
    page = guest.get(f"/portal/deliveries/{row['id']}")
    assert "Next attempt" in page
    with database.begin() as connection:
        noted = connection.exec_driver_sql("SELECT actor, action FROM audit_entries ORDER BY id").all()
    assert [one.action for one in noted] == ["portal.open", "endpoint.recover", "endpoint.recover", "delivery.retry"]
    assert {one.actor for one in noted} == {f"portal {guest.link_id}"}


def test_addresses_of_our_own_network_are_not_shown(acme: Door, enter: Enter, database: Database) -> None:
    guest = enter(acme)
    acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in"})
    acme.publish("call", "c1", "call.started")
    (row,) = acme.get("/v1/deliveries")["data"]
    with database.begin() as connection:
        connection.exec_driver_sql(
            """INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number,
                 started_at, duration_ms, outcome, error, remote_address, trigger)
               SELECT replace(id, 'dlv', 'att'), created_at, workspace_id, endpoint_id, id, 1, now(), 3,
                 'blocked_address', '10.1.2.3 is private, fd00::1 is not global, 93.184.216.34 is', '10.1.2.3',
                 'schedule' FROM deliveries WHERE id = %(id)s""",
            {"id": row["id"]},
        )
    page = guest.get(f"/portal/deliveries/{row['id']}")
    assert "an internal address is private, an internal address is not global, 93.184.216.34 is" in page
    assert "10.1.2.3" not in page
    assert "fd00::1" not in page


def test_streams_are_shown_where_the_link_allows_it(acme: Door, enter: Enter) -> None:
    acme.publish("call", "c1", "call.started")
    enter(acme).get("/portal/streams", 404)
    guest = enter(acme, "subscribe")
    assert "call/c1" in guest.get("/portal/streams")
    assert "call.started" in guest.get("/portal/streams/call/c1")
    assert guest.client.get("/portal").headers["Location"] == "/portal/streams"


def test_every_field_that_the_api_takes_is_in_the_form(acme: Door, enter: Enter) -> None:
    guest = enter(acme)
    fields = EVERYTHING | {"url": "http://127.0.0.1:9/in", "enabled": ""}
    page = guest.send("/portal/endpoints", **fields).get_data(as_text=True)
    assert "Public key" in page
    (made,) = acme.get("/v1/endpoints")["data"]
    assert (made["status"], made["uid"], made["signing"]) == ("disabled", "billing", "ed25519")
    assert made["content_filter"] == {"path": "/amount", "gte": 100}
    form = guest.get(f"/portal/endpoints/{made['id']}/edit")
    offered = set(re.findall(r'<(?:input|textarea|select) id="(\w+)"', guest.get("/portal/endpoints/new")))
    assert offered | {"enabled"} == set(NAMES)
    typed = dict(re.findall(r'<input id="(\w+)" name="\w+" value="([^"]*)"', form))
    assert (typed["stream_kinds"], typed["channels"]) == ("call, session", "team:a, team:b")


def test_the_workspaces_own_types_are_in_the_catalogue_and_sent_as_tests(
    acme: Door, globex: Door, enter: Enter
) -> None:
    schema = {"type": "object", "required": ["order"]}
    own = {"description": "An order <b>", "schema": schema, "example": {"order": "o_17"}, "check": "reject"}
    acme.put("/v1/event-types/order.paid", own, 201)
    acme.put("/v1/event-types/call.started", {"description": "Ours", "deprecated": True}, 201)
    globex.put("/v1/event-types/order.foreign", {"example": {}}, 201)
    endpoint = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in"})["id"]
    guest = enter(acme)
    page = guest.get("/portal/types")
    assert "An order <b>" in page
    assert '"order": "o_17"' in page
    assert "your own, on streams of every kind · deprecated" in page
    assert "order.foreign" not in page
    options = re.findall(r"<option>([\w.]+)</option>", guest.get(f"/portal/endpoints/{endpoint}"))
    assert "order.paid" in options
    assert "call.started" not in options, "it has no example"
    assert guest.send(f"/portal/endpoints/{endpoint}/test", type="order.paid").status_code == 303
    for type in ("call.started", "order.foreign"):
        assert guest.send(f"/portal/endpoints/{endpoint}/test", type=type).status_code == 422
    (row,) = acme.get("/v1/deliveries")["data"]
    assert acme.get(f"/v1/events/{row['event_id']}")["data"] == {"order": "o_17"}
