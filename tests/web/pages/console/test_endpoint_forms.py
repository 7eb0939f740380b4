"""What an operator does to a customer's endpoints: make, change, test, recover and delete them."""

from __future__ import annotations

import re
from html import unescape

from app.accounts import audit
from app.database.connection import Database
from tests.web.doors import Door
from tests.web.pages.console.people import Person
from tests.web.pages.test_endpoint_form import EVERYTHING

SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")
FIELDS = EVERYTHING | {"url": "http://127.0.0.1:9/in", "signing": "hmac"}


def actions(database: Database) -> list[str]:
    with database.begin() as connection:
        return [one.action for one in reversed(audit.entries(connection, limit=20))]


def test_an_endpoint_is_made_with_every_field_its_secret_shown_once_changed_and_deleted(
    ana: Person, acme: Door, database: Database
) -> None:
    assert f'<option value="{acme.workspace_id}" selected>' in ana.get(
        f"/console/endpoints/new?workspace={acme.workspace_id}"
    )
    answer = ana.send("/console/endpoints", workspace=acme.workspace_id, **FIELDS)
    (secret,) = set(SECRET.findall(unescape(answer.get_data(as_text=True))))
    (made,) = acme.get("/v1/endpoints")["data"]
    here = f"/console/endpoints/{made['id']}"
    assert acme.get(f"/v1/endpoints/{made['id']}/secret")["secret"] == secret
    assert not SECRET.search(ana.get(here))
    wanted = {"uid": "billing", "content_filter": {"path": "/amount", "gte": 100}, "timeout_seconds": 7,
              "retry_delays_seconds": [10, 60, 600], "metadata": {"team": "billing", "region": "eu: west"},
              "channels": ["team:a", "team:b"], "header_names": ["Authorization", "X-Shop"]}  # fmt: skip
    assert {name: made[name] for name in wanted} == wanted
    form = ana.get(f"{here}/edit")
    assert '"path": "/amount"' in form
    assert "Bearer a:b" not in form
    done = ana.send(here, url="http://127.0.0.1:9/moved", uid="billing")
    assert done.headers["Location"] == f"{here}?done=endpoint-saved"
    changed = acme.get(f"/v1/endpoints/{made['id']}")
    assert (changed["url"], changed["uid"], changed["content_filter"]) == ("http://127.0.0.1:9/moved", "billing", None)
    assert changed["header_names"] == ["Authorization", "X-Shop"]
    gone = ana.send(f"{here}/delete").headers["Location"]
    assert "The endpoint is deleted." in ana.get(gone)
    assert acme.get("/v1/endpoints")["data"] == []
    assert actions(database) == ["endpoint.create", "endpoint.change", "endpoint.delete"]
    with database.begin() as connection:
        assert secret not in str(audit.entries(connection, limit=9))


def test_what_the_api_says_of_a_field_stands_beside_it_and_nothing_is_lost(ana: Person, acme: Door) -> None:
    acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/first", "uid": "billing"})
    wrong = FIELDS | {"content_filter": '{"path": "/amount", "over": 9}', "description": "kept <b>", "enabled": ""}
    page = ana.send("/console/endpoints", workspace=acme.workspace_id, **wrong)
    text = page.get_data(as_text=True)
    assert page.status_code == 422
    assert re.search(r'id="content_filter-wrong">over: unknown; a path is tested with', text)
    assert 'aria-describedby="content_filter-hint content_filter-wrong" aria-invalid="true"' in text
    assert "kept &lt;b&gt;" in text
    assert not re.search(r'name="enabled" value="1" checked', text)
    page = ana.send("/console/endpoints", workspace=acme.workspace_id, **FIELDS)
    assert re.search(r'id="uid-wrong">is taken: another endpoint', page.get_data(as_text=True))
    page = ana.send("/console/endpoints", workspace="ws_nobody", **FIELDS)
    assert (page.status_code, "choose the customer" in page.get_data(as_text=True)) == (422, True)
    assert len(acme.get("/v1/endpoints")["data"]) == 1


def test_a_form_may_be_as_large_as_an_endpoint_and_no_other_may(ana: Person, acme: Door) -> None:
    large = {"metadata": "\n".join(f"name{number}: {'ä' * 500}" for number in range(50))}
    made = ana.send("/console/endpoints", workspace=acme.workspace_id, **FIELDS | large)
    assert made.status_code == 200
    (row,) = acme.get("/v1/endpoints")["data"]
    assert len(row["metadata"]) == 50
    assert ana.send(f"/console/endpoints/{row['id']}/test", **large).status_code == 413


def test_a_test_event_is_sent_and_what_was_missed_recovered(ana: Person, acme: Door, database: Database) -> None:
    id = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in", "enabled": False})["id"]
    acme.publish("call", "c1", "call.started")
    here = f"/console/endpoints/{id}"
    assert ana.send(f"{here}/test").status_code == 409
    acme.patch(f"/v1/endpoints/{id}", {"status": "enabled"})
    acme.put("/v1/event-types/order.paid", {"example": {"order": "o_17"}}, 201)
    assert "<option>order.paid</option>" in ana.get(here)
    assert ana.send(f"{here}/test", type="order.paid").headers["Location"].endswith("done=tested")
    assert ana.send(f"{here}/test", type="made.up").status_code == 422
    assert ana.send(f"{here}/recover", since="soon").status_code == 422
    assert ana.send(f"{here}/recover", since="24h").headers["Location"].endswith("done=recovered")
    seen = {row["event_type"] for row in acme.get(f"/v1/deliveries?endpoint_id={id}")["data"]}
    assert seen == {"order.paid", "call.started"}
    assert actions(database) == ["endpoint.recover"]
