"""One of everything that has an id, and requests that name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from app.core.contract.model import ContractRoute
from app.web.engine import engine_of
from app.web.http.call import ApiRoute
from app.web.http.fields import Field
from app.web.http.routes import IDS
from tests.web.doors import Door

# Ids that every contract takes for one of its own, whatever the kind.
THEIRS, NOTHING = "mbsess_theirs", "mbsess_nothing"
KINDS = ("call", "bot", "conversation", "session")
# What the names of path parameters stand for, when nothing of that name exists anywhere.
ABSENT = {
    "kind": "call",
    "workspace": "nothing",
    **dict.fromkeys(
        ("stream_id", "bot_id", "call_id", "conversation_id", "session_id", "callId", "type", "consumer"), NOTHING
    ),
    **{name: f"{prefix}_01k00000000000000000000000" for name, (prefix, _) in IDS.items()},
}
_VALUES: dict[str, Any] = {
    "time": "2026-01-01T00:00:00Z",
    "integer": 1,
    "texts": ["publish"],
    "object": {},
    "boolean": True,
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def things_of(door: Door, stream_id: str = THEIRS) -> dict[str, str]:
    """One of everything that has an id, in this workspace. stream_id: of the streams, one of each kind."""
    endpoint = door.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})["id"]
    event, *_ = [door.publish(kind, stream_id, "made.up") for kind in KINDS]
    tested = door.post(f"/v1/endpoints/{endpoint}/test", status=202)["id"]
    token = door.post(f"/v1/streams/call/{stream_id}/tokens")["id"]
    feed_token = door.post("/v1/feed/tokens", {"kinds": ["call"]})["id"]
    door.put(f"/v1/event-types/{stream_id}", {})
    door.put(f"/v1/feed/consumers/{stream_id}", {})
    key = door.post("/v1/keys", {"name": "k", "scopes": ["publish"]})["id"]
    link = door.post("/v1/portal-links")["id"]
    bulk = door.post("/v1/bulk-retries", status=202)["id"]
    door.post(f"/v1/bulk-retries/{bulk}/cancel", status=200)  # others may order, too
    with engine_of(door.app).database.begin() as connection:
        delivery = connection.exec_driver_sql("SELECT id FROM deliveries WHERE event_id = %s", (tested,)).scalar_one()
    return {
        **{name: stream_id if value == NOTHING else value for name, value in ABSENT.items()},
        "workspace": door.workspace_id,
        "key_id": key,
        "endpoint_id": endpoint,
        "event_id": event,
        "delivery_id": delivery,
        "token_id": token,
        "feed_token_id": feed_token,
        "link_id": link,
        "bulk_id": bulk,
    }


def body_for(fields: tuple[Field, ...] | None) -> dict[str, Any] | None:
    """A body that is in order."""
    if fields is None:
        return None
    return {item.name: item.example or _VALUES.get(item.kind, "x") for item in fields if item.required}


def contracts_routes(app: Flask) -> dict[str, ContractRoute]:
    """The routes that contracts declare, by path."""
    return {route.path: route for contract in engine_of(app).rules.contracts for route in contract.routes}


def named_path(declared: ApiRoute, contract: ContractRoute | None) -> str:
    """A route's path with {names}, also where the id stands in the query."""
    in_query = contract is not None and contract.id_in == "query"
    return declared.path + (f"?{contract.id_name}={{{contract.id_name}}}" if in_query else "")


def filled(path: str, values: Mapping[str, str]) -> str:
    """A path with its {names} replaced."""
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)


def comparable(response: TestResponse, values: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The answer without what the caller has said itself, and without the time of day."""
    text = _TIME.sub("<time>", response.get_data(as_text=True))
    for value in values.values():
        text = text.replace(f'"{value}"', "<given>")
    return text, dict(response.headers, **{"Content-Length": ""})
