"""Reads one [[routes]] table of a contract file."""

from __future__ import annotations

import json
import re
from typing import Any

from app.core.contract.model import CREDENTIALS, ContractRoute, Fixed, FrameForm, Hidden, path_parameters
from app.core.contract.strict_table import Table
from app.core.contract.values import check_type, json_object, kind_of, name_of

VALUES = ("$type", "$id", "$seq", "$timestamp", "$stream_id")
OPTIONS = ("types", "after_seq", "speed")
MINT_FIELDS = ("url", "token", "expires_at")
_TRANSPORTS = ("sse", "websocket", "mint")


def read_route(table: Table) -> ContractRoute:
    """A route from its table, which notes every complaint; with complaints, the route is not to be used."""
    does = table.choice("does", _TRANSPORTS, "sse")
    mint = does == "mint"
    id_in, id_name = _id_place(table)
    replay = table.choice("replay", ("none", "cursor", "window"), "none")
    ended = table.choice("ended", ("replay", "last", "refuse"), "refuse")
    route = ContractRoute(
        name=name_of(table),
        does=does,
        method=table.choice("method", ("GET", "POST"), "POST" if mint else "GET"),
        path=_path(table),
        kind=kind_of(table) if table.has("kind") else None,
        id_in=id_in,
        id_name=id_name,
        credentials=table.texts("credentials", CREDENTIALS),
        frame=_frame(table.table("frame"), needed=not mint),
        types=table.texts("types") if table.has("types") else None,
        hidden=tuple(_hidden(part) for part in table.tables("hide")),
        opening=_fixed(table, "opening"),
        closing=_fixed(table, "closing"),
        reset=_fixed(table, "reset"),
        retry=table.get("retry", bool, False),
        heartbeat=_heartbeat(table),
        heartbeat_blank_line=table.get("heartbeat_blank_line", bool, False),
        heartbeat_seconds=table.number("heartbeat_seconds", 15, 1, 3600),
        replay=replay,
        replay_seconds=table.number("replay_seconds", 0, 0, 86400),
        overflow=table.choice("overflow", ("catch_up", "drop"), "catch_up"),
        overflow_frames=table.number("overflow_frames", 64, 1, 10_000),
        ended=ended,
        ended_type=table.get("ended_type", str, "") or None,
        options=table.texts("options", OPTIONS),
        inbound_type=table.get("inbound_type", str, "") or None,
        mints=table.get("mints", str, "") or None,
        mint_status=table.number("mint_status", 200, 200, 201),
        mint_fields=table.texts("mint_fields", MINT_FIELDS),
    )
    _check_route(table, route)
    table.done()
    return route


def _check_route(table: Table, route: ContractRoute) -> None:
    if not route.credentials:
        table.wrong("credentials", f"is missing; give some of {', '.join(CREDENTIALS)}")
    if (route.replay == "window") != (route.replay_seconds > 0):
        table.wrong("replay_seconds", 'goes with replay = "window", and only with it')
    if route.reset is not None and route.replay == "none":
        table.wrong("reset", "goes with a replay: without one no client has a cursor")
    if (route.ended == "last") != (route.ended_type is not None):
        table.wrong("ended_type", 'goes with ended = "last", and only with it')
    if (route.does == "mint") != (route.mints is not None):
        table.wrong("mints", 'goes with does = "mint": the name of the route that the token opens')
    if route.does == "mint" and not route.mint_fields:
        table.wrong("mint_fields", f"is missing; give some of {', '.join(MINT_FIELDS)}")
    if route.inbound_type is not None and route.does != "websocket":
        table.wrong("inbound_type", 'goes with does = "websocket"')
    if route.does == "websocket" and table.has("heartbeat"):
        table.wrong("heartbeat", "is a text of server-sent events; a WebSocket is kept alive by pings")
    if route.retry and route.does != "sse":
        table.wrong("retry", "is a line of server-sent events; a WebSocket has none")
    _check_path(table, route)


def _check_path(table: Table, route: ContractRoute) -> None:
    in_path = path_parameters(route.path)
    if len(in_path) != len(set(in_path)):
        table.wrong("path", "names a parameter twice")
    if route.kind is None and "kind" not in in_path:
        table.wrong("kind", "is missing: give it here, or as {kind} in the path")
    read = {"kind"} if route.kind is None else set()
    if route.id_in == "path":
        read.add(route.id_name)
    for name in sorted(set(in_path) - read):
        table.wrong("path", f"holds {{{name}}}, which nothing reads: only the id, and kind where it is not given")
    if route.id_in == "path" and route.id_name not in in_path:
        table.wrong("id", f"names {route.id_name!r}, which the path does not hold")


def _path(table: Table) -> str:
    path = table.get("path", str)
    if table.has("path") and not re.fullmatch(r"(/([A-Za-z0-9._-]+|\{\w+\}))+", path):
        table.wrong("path", "must look like /v1/calls/{call_id}/events")
    return path


def _id_place(table: Table) -> tuple[str, str]:
    """Where the id stands and its parameter's name, from `id = "path:call_id"` or `"query:callId"`."""
    where, _, name = table.get("id", str).partition(":")
    if table.has("id") and (where not in ("path", "query") or not name):
        table.wrong("id", 'must say where the id stands, as "path:NAME" or "query:NAME"')
    return where, name


def _frame(table: Table, *, needed: bool) -> FrameForm:
    if not needed:
        table.done()
        return FrameForm(False, False, "payload")
    members = table.table("members")
    frame = FrameForm(
        table.get("event", bool, True),
        table.get("id", bool, True),
        table.choice("data", ("payload", "envelope", "flat")),
        tuple((name, _member(members, name, value)) for name, value in members.items()),
        table.get("epoch", bool, False),
    )
    if frame.data == "payload" and frame.members:
        table.wrong("members", 'do not go with data = "payload"; choose flat to put members before the payload\'s')
    table.done()
    return frame


def _member(table: Table, name: str, value: Any) -> str:
    if not isinstance(value, str) or (value.startswith("$") and value not in VALUES):
        table.wrong(name, f"must be a text or one of {', '.join(VALUES)}")
        return ""
    return value


def _hidden(table: Table) -> Hidden:
    rule = Hidden(table.get("type", str), table.get("attribute", str, "") or None, table.get("equals", str, "") or None)
    if (rule.attribute is None) != (rule.equals is None):
        table.wrong("attribute", "and equals go together")
    table.done()
    return rule


def _fixed(table: Table, name: str) -> Fixed | None:
    if not table.has(name):
        return None
    inner = table.table(name)
    fixed = Fixed(inner.get("event", str, "") or None, json.dumps(json_object(inner, "data")))
    if (name, fixed.event) != ("reset", "reset"):
        check_type(inner, "event", fixed.event or "")
    inner.done()
    return fixed


def _heartbeat(table: Table) -> str:
    text = table.get("heartbeat", str, "keepalive")
    if not re.fullmatch(r"[ -~]{1,64}", text):
        table.wrong("heartbeat", "must be 1 to 64 printable characters; it is sent behind a colon and a space")
    return text
