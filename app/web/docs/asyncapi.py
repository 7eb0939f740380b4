"""The AsyncAPI 3.0 document of the live streams, from the contracts that they are served from, and of the live feed.

It describes this server: it sends what a stream shows, and receives what a WebSocket's client says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from app.core.contract.model import Contract, ContractRoute, EventType
from app.live.feed.pages import GONE, LOST
from app.web.docs.schemas import SCHEMAS
from app.web.docs.webhooks import body_of, data_of
from app.web.live import description
from app.web.live.credentials import ways

Document = dict[str, Any]
VERSION = "1"
_ABOUT = """\
Live streams over server-sent events and WebSocket. A stream is opened with a key, or with a token that opens it alone.
Come back with `Last-Event-ID`, and it goes on behind the event that you have seen. The feed is all of a workspace's
streams over one connection. The HTTP API is in /openapi.json."""


def document(contracts: Iterable[Contract], server_url: str) -> Document:
    """The whole document. server_url: where clients reach this API."""
    address = urlsplit(server_url)
    server = {"host": address.netloc, "protocol": address.scheme}
    made: Document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Twofold streams",
            "version": VERSION,
            "description": _ABOUT,
            "tags": [{"name": "streams", "description": "One live subject each, numbered without gaps."}],
        },
        "defaultContentType": "application/json",
        "servers": {"api": server | ({"pathname": address.path} if address.path else {})},
        "channels": {},
        "operations": {},
        "components": {"schemas": {"Event": SCHEMAS["Event"]}, "messages": {}},
    }
    for contract in contracts:
        for route in contract.routes:
            if route.does != "mint":
                _add(made, contract, route)
    _add_feed(made)
    return made


def _add_feed(made: Document) -> None:
    """Add the channels of the live feed: server-sent events carry the envelope alone, and the cursor as their id."""
    cursor = {"type": "string", "description": "where to go on from"}
    event = {"type": "object", "properties": {"cursor": cursor, "event": {"$ref": "#/components/schemas/Event"}}}
    reset = {"reason": {"type": "string", "enum": [LOST, GONE]}, "cursor": cursor}
    text = {"cursor": cursor, "reset": reset["reason"]}
    _add_channel(
        made,
        "feed_live",
        "/v1/feed/live",
        {"$ref": "#/components/schemas/Event"},
        {"type": "object", "properties": reset},
    )
    _add_channel(made, "feed_ws", "/v1/feed/ws", event, {"type": "object", "properties": text})
    made["channels"]["feed_ws"]["bindings"] = {"ws": {"method": "GET"}}


def _add_channel(made: Document, name: str, path: str, event: Document, reset: Document) -> None:
    said = {
        "event": {"name": "event", "title": "event", "summary": "An event of the workspace.", "payload": event},
        "reset": {
            "name": "reset",
            "title": "reset",
            "summary": "Events behind the cursor that was given are missing; the feed goes on from another.",
            "payload": reset,
        },
    }
    made["components"]["messages"] |= {f"{name}_{one}": message for one, message in said.items()}
    made["channels"][name] = {
        "address": path,
        "title": name.replace("_", " "),
        "description": "Everything of a workspace, or some streams, kinds and types of it, in one order. Send a key as"
        " Authorization: Bearer <key> or X-API-Key: <key>, or a token of the feed as Authorization: Bearer or ?token=.",
        "messages": {one: {"$ref": f"#/components/messages/{name}_{one}"} for one in said},
    }
    made["operations"][f"send_{name}"] = {
        "action": "send",
        "description": "What a reader of the feed is sent.",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{one}"} for one in said],
    }


def _add(made: Document, contract: Contract, route: ContractRoute) -> None:
    """Add a route's channel, its operations and its messages."""
    name = _identifier(f"{contract.name}_{route.name}")
    own = _messages(made, contract, route, name)
    channel = {
        "address": route.path,
        "title": f"{contract.name} {route.name}",
        "description": f"{contract.about}. Send {ways(route)}.",
        "messages": own,
        "parameters": {one: {"description": _parameter(route, one)} for one in re.findall(r"{(\w+)}", route.path)},
    }
    if route.does == "websocket":
        channel["bindings"] = {"ws": {"method": "GET"}}
    made["channels"][name] = {key: value for key, value in channel.items() if value}
    reference = {"$ref": f"#/channels/{name}"}
    said = [{"$ref": f"#/channels/{name}/messages/{one}"} for one in own if not one.endswith("_input")]
    sends = {"action": "send", "description": f"What a viewer of {route.path} is sent."}
    made["operations"][f"send_{name}"] = sends | {"channel": reference, "messages": said}
    if route.inbound_type:
        heard = [{"$ref": f"#/channels/{name}/messages/{one}"} for one in own if one.endswith("_input")]
        hears = {"action": "receive", "description": f"What a client of {route.path} may say over its WebSocket."}
        made["operations"][f"receive_{name}"] = hears | {"channel": reference, "messages": heard}


def _messages(made: Document, contract: Contract, route: ContractRoute, channel: str) -> dict[str, Any]:
    """References to the messages of a channel, which are put among the components."""
    own: dict[str, Any] = {}
    if not contract.events:  # it shows the events of every kind
        about = "Any event of the stream, in its envelope."
        message = {"name": "event", "summary": about, "payload": {"$ref": "#/components/schemas/Event"}}
        made["components"]["messages"][f"{channel}_event"] = message
        own["event"] = {"$ref": f"#/components/messages/{channel}_event"}
    for declared in description.shown_types(contract, route):
        name = f"{channel}_{_identifier(declared.type)}"
        made["components"]["messages"][name] = _message(route, declared)
        own[_identifier(declared.type)] = {"$ref": f"#/components/messages/{name}"}
    if route.inbound_type:
        name = f"{channel}_input"
        about = f"Any JSON object. It becomes an event of type {route.inbound_type} of the stream."
        message = {"name": "input", "summary": about, "payload": {"type": "object"}}
        made["components"]["messages"][name] = message
        own[f"{_identifier(route.inbound_type)}_input"] = {"$ref": f"#/components/messages/{name}"}
    return own


def _message(route: ContractRoute, declared: EventType) -> Document:
    example = json.loads(description.data_of_example(route, declared))
    return {
        "name": declared.type,
        "title": declared.type,
        "summary": declared.about or declared.type,
        "payload": _payload(route, declared),
        "examples": [{"name": "example", "payload": example}],
    }


def _payload(route: ContractRoute, declared: EventType) -> Mapping[str, Any]:
    """The schema of what stands behind `data:`, or in a WebSocket's text."""
    if route.frame.data == "envelope" and not route.frame.members:
        return body_of(declared)
    if route.frame.data == "payload" and not route.frame.members:
        return data_of(declared)
    members = {name: {"type": "string"} for name, _ in route.frame.members}
    return {"type": "object", "properties": members, "required": list(members)}


def _parameter(route: ContractRoute, name: str) -> str:
    return "The kind of the stream." if name == "kind" else f"Your id of the {route.kind or 'stream'}."


def _identifier(text: str) -> str:
    """A name as AsyncAPI allows it for a key."""
    return re.sub(r"[^A-Za-z0-9_]", "_", text)
