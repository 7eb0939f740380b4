"""Nothing crosses workspaces: a foreign id answers exactly like an absent one, on every route that takes an id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.web.http.call import ApiRoute
from app.web.http.routes import routes_of
from tests.web.doors import Door, handshake
from tests.web.things import ABSENT, THEIRS, body_for, comparable, contracts_routes, filled, named_path, things_of

# What is put under a name of the caller's own: there is nothing foreign about it.
OWN_NAMES = {
    ("PUT", "/v1/streams/{kind}/{stream_id}"),
    ("PUT", "/v1/event-types/{type}"),
    ("PUT", "/v1/feed/consumers/{consumer}"),
}
# Found, and not possible at the moment: nothing is read, nothing waits in an order.
NOT_NOW = {"/v1/feed/consumers/{consumer}/commit", "/v1/deliveries/{delivery_id}/skip"}


def with_ids(app: Flask) -> Iterator[tuple[ApiRoute, str, int]]:
    """Every route that takes an id and a key: (route, path with {names}, what an absent id answers)."""
    contracts = contracts_routes(app)
    for declared in routes_of(app).values():
        contract = contracts.get(declared.path)
        path = named_path(declared, contract)
        # Where a contract takes nothing but a token, a key is refused before any id is looked at.
        only_tokens = contract and not any(way.startswith("key:") for way in contract.credentials)
        if "{" in path and not declared.public and (declared.method, declared.path) not in OWN_NAMES:
            yield declared, path, 401 if only_tokens else 404


def ask(door: Door, declared: ApiRoute, path: str, values: dict[str, str]) -> TestResponse:
    # X-API-Key too: some contracts take nothing else. The trace id is the caller's, so that answers can be compared.
    headers = {"X-Request-Id": "same", "X-API-Key": door.key, **handshake(door.app, declared)}
    return door.ask(declared.method, filled(path, values), body_for(declared.body), headers=headers)


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
        is_found = response.status_code == 409 and declared.path in NOT_NOW
        assert is_live or is_found or response.status_code < 300, (declared.method, path, response.text)


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
