"""Nothing crosses workspaces: a foreign id answers exactly like an absent one, on every route that takes an id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.core.contract.model import Contract
from app.web.engine import engine_of
from app.web.http.call import ApiRoute
from app.web.http.fields import Field
from app.web.http.routes import IDS, routes_of
from tests.web.doors import Door, handshake

# An id that every contract takes for one of its own, whatever the kind.
THEIRS, NOTHING = "mbsess_theirs", "mbsess_nothing"
KINDS = ("call", "bot", "conversation", "session")
# What the names of path parameters stand for, when nothing of that name exists anywhere.
ABSENT = {
    "kind": "call",
    "workspace": "nothing",
    **dict.fromkeys(("stream_id", "bot_id", "call_id", "conversation_id", "session_id", "callId"), NOTHING),
    **{name: f"{prefix}_01k00000000000000000000000" for name, (prefix, _) in IDS.items()},
}
# Attributes are put under a name of the caller's own: there is nothing foreign about it.
OWN_NAMES = {("PUT", "/v1/streams/{kind}/{stream_id}")}
VALUES: dict[str, Any] = {"time": "2026-01-01T00:00:00Z", "integer": 1, "texts": ["publish"], "object": {}}
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def things_of(door: Door) -> dict[str, str]:
    """One of everything that has an id, in this workspace."""
    endpoint = door.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})["id"]
    event, *_ = [door.publish(kind, THEIRS, "made.up") for kind in KINDS]
    tested = door.post(f"/v1/endpoints/{endpoint}/test", status=202)["id"]
    token = door.post(f"/v1/streams/call/{THEIRS}/tokens")["id"]
    key = door.post("/v1/keys", {"name": "k", "scopes": ["publish"]})["id"]
    with engine_of(door.app).database.begin() as connection:
        delivery = connection.exec_driver_sql("SELECT id FROM deliveries WHERE event_id = %s", (tested,)).scalar_one()
    return {
        **{name: THEIRS if value == NOTHING else value for name, value in ABSENT.items()},
        "workspace": door.workspace_id,
        "key_id": key,
        "endpoint_id": endpoint,
        "event_id": event,
        "delivery_id": delivery,
        "token_id": token,
    }


def body_for(fields: tuple[Field, ...] | None) -> dict[str, Any] | None:
    """A body that is in order."""
    if fields is None:
        return None
    return {item.name: item.example or VALUES.get(item.kind, "x") for item in fields if item.required}


def with_ids(app: Flask) -> Iterator[tuple[ApiRoute, str, int]]:
    """Every route that takes an id and a key: (route, path with {names}, what an absent id answers)."""
    by_path = {route.path: route for declared in contracts_of(app) for route in declared.routes}
    for declared in routes_of(app).values():
        contract = by_path.get(declared.path)
        path = declared.path
        if contract and contract.id_in == "query":
            path += f"?{contract.id_name}={{{contract.id_name}}}"
        # Where a contract takes nothing but a token, a key is refused before any id is looked at.
        only_tokens = contract and not any(way.startswith("key:") for way in contract.credentials)
        if "{" in path and not declared.public and (declared.method, declared.path) not in OWN_NAMES:
            yield declared, path, 401 if only_tokens else 404


def contracts_of(app: Flask) -> tuple[Contract, ...]:
    return tuple(engine_of(app).rules.contracts)


def ask(door: Door, declared: ApiRoute, path: str, values: dict[str, str]) -> TestResponse:
    filled = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)
    # X-API-Key too: some contracts take nothing else. The trace id is the caller's, so that answers can be compared.
    headers = {"X-Request-Id": "same", "X-API-Key": door.key, **handshake(door.app, declared)}
    return door.ask(declared.method, filled, body_for(declared.body), headers=headers)


def comparable(response: TestResponse, values: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The answer without what the caller has said itself, and without the time of day."""
    text = TIME.sub("<time>", response.get_data(as_text=True))
    for value in values.values():
        text = text.replace(f'"{value}"', "<given>")
    return text, dict(response.headers, **{"Content-Length": ""})


@pytest.fixture(params=["with a workspace key", "with a platform key"])
def asking(request: pytest.FixtureRequest, acme: Door, platform: Door) -> Door:
    """Somebody who acts for acme."""
    if request.param == "with a workspace key":
        return acme
    return Door(platform.app, platform.key, acme.workspace_id, {"X-Workspace": "acme"})


def test_every_route_that_takes_an_id_answers_404_for_a_foreign_one_as_for_an_absent_one(
    asking: Door, globex: Door, platform: Door
) -> None:
    theirs = things_of(globex)
    before = everything(globex, theirs)
    seen = 0
    for declared, path, status in with_ids(asking.app):
        if asking.key == platform.key and declared.path.startswith("/v1/workspaces"):
            continue  # a platform key is meant to reach every workspace
        foreign, absent = ask(asking, declared, path, theirs), ask(asking, declared, path, ABSENT)
        what = f"{declared.method} {path}: {foreign.get_data(as_text=True)}"
        assert foreign.status_code == absent.status_code == status, what
        assert comparable(foreign, theirs) == comparable(absent, ABSENT), what
        seen += 1
    assert seen >= 20
    assert everything(globex, theirs) == before


def test_ones_own_is_found_on_every_one_of_those_routes(acme: Door) -> None:
    """Otherwise the test above could pass because its requests are wrong in another way."""
    mine = things_of(acme)
    # Deletions last, the inner ones first; and streams' ends after everything that needs an open stream.
    for declared, path, status in sorted(
        with_ids(acme.app), key=lambda one: (one[0].method == "DELETE", "/end" in one[1], -len(one[1]))
    ):
        if status == 401 or (path.startswith("/v1/workspaces/") and declared.method != "GET"):
            continue  # a key is not enough there
        response = ask(acme, declared, path, mine)
        # Flask's test server has no socket for a live stream to write to.
        is_live = response.status_code == 503 and declared.operation is not None
        assert is_live or response.status_code < 300, (declared.method, path, response.get_data(as_text=True))


def test_a_foreign_id_as_a_filter_finds_nothing(acme: Door, globex: Door) -> None:
    theirs = things_of(globex)
    for declared in routes_of(acme.app).values():
        names = [item.name for item in declared.query if item.name in theirs]
        if not declared.answers.get(200, "").endswith("List") or "{" in declared.path or not names:
            continue
        query = "&".join(f"{name}={theirs[name]}" for name in names)
        if "stream_id" in names:
            query += "&stream_kind=call"
        assert acme.get(f"{declared.path}?{query}")["data"] == [], declared.path


def test_a_name_that_two_workspaces_use_is_two_streams(acme: Door, globex: Door) -> None:
    globex.put("/v1/streams/call/same", {"attributes": {"whose": "globex"}})
    assert acme.put("/v1/streams/call/same")["attributes"] == {}
    acme.post("/v1/streams/call/same/end", status=200)
    assert globex.get("/v1/streams/call/same")["status"] == "open"


def everything(door: Door, mine: dict[str, str]) -> list[Any]:
    """What could have been changed by somebody else."""
    return [
        door.get(f"/v1/endpoints/{mine['endpoint_id']}"),
        door.get(f"/v1/endpoints/{mine['endpoint_id']}/secret"),
        door.get("/v1/keys"),
        door.get("/v1/streams"),
        door.get("/v1/events"),
        door.get(f"/v1/streams/call/{THEIRS}/tokens"),
    ]
