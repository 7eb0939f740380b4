"""Reads a contract from parsed TOML, strictly: an unknown or missing word is refused, with its place and the mend.

Pure: the parsed tables come in, a Contract or a list of complaints comes out. `docs/contracts.md` teaches the format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.core.contract import checks
from app.core.contract.model import (
    CREDENTIALS,
    ERROR_STATUS,
    Contract,
    ContractRoute,
    Ending,
    ErrorForm,
    EventType,
    Fixed,
    Frame,
    Hidden,
    path_parameters,
)
from app.core.contract.strict_table import Table
from app.core.event import names

VALUES = ("$type", "$id", "$seq", "$timestamp", "$stream_id")
OPTIONS = ("types", "after_seq", "speed")
MINT_FIELDS = ("url", "token", "expires_at")
_TRANSPORTS = ("sse", "websocket", "mint")


class ContractError(ValueError):
    """A contract file that cannot be used. complaints: (place such as routes[0].path, what is wrong and the mend)."""

    def __init__(self, complaints: Iterable[tuple[str, str]]) -> None:
        self.complaints = list(complaints)
        super().__init__("; ".join(f"{place}: {text}" for place, text in self.complaints))


def read_contract(tables: Mapping[str, Any]) -> Contract:
    """A contract from a parsed TOML file. Raises ContractError with every complaint."""
    complaints: list[tuple[str, str]] = []
    top = Table(dict(tables), "", complaints)
    name, about = _name(top), top.get("about", str, "")
    id_patterns: dict[str, str] = {}
    endings: dict[str, tuple[Ending, ...]] = {}
    for stream in top.tables("streams"):
        kind = _kind(stream)
        if kind in endings:
            stream.wrong("kind", f"{kind!r} is given twice")
        if pattern := _pattern(stream):
            id_patterns[kind] = pattern
        endings[kind] = tuple(_ending(table) for table in stream.tables("ends"))
        stream.done()
    events = tuple(_event_type(table) for table in top.tables("events"))
    routes = tuple(_route(table) for table in top.tables("routes"))
    errors, template = _errors(top.table("errors"))
    top.done()
    if complaints:
        raise ContractError(complaints)
    contract = Contract(name, about, id_patterns, endings, events, routes, errors, template)
    if complaints := list(checks.check(contract)):
        raise ContractError(complaints)
    return contract


def _name(table: Table) -> str:
    name = table.get("name", str)
    if table.has("name") and not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        table.wrong("name", "must be a small letter, then small letters, digits and _")
    return name


def _kind(table: Table) -> str:
    kind = table.get("kind", str)
    if table.has("kind") and not names.KIND.fullmatch(kind):
        table.wrong("kind", names.KIND_HINT)
    return kind


def _pattern(table: Table) -> str | None:
    pattern = table.get("id_pattern", str, "")
    try:
        re.compile(pattern)
    except re.error as error:
        table.wrong("id_pattern", f"is not a regular expression: {error}")
    return pattern or None


def _ending(table: Table) -> Ending:
    ending = Ending(table.get("type", str), table.get("field", str, "") or None, table.texts("values"))
    if (ending.field is None) != (not ending.values):
        table.wrong("field", "and values go together: the stream ends when the field has one of the values")
    table.done()
    return ending


def _event_type(table: Table) -> EventType:
    found = EventType(
        kind=_kind(table),
        type=table.get("type", str),
        check=table.choice("check", ("warn", "reject"), "warn"),
        about=table.get("about", str, ""),
        schema=_json(table, "schema"),
        example=_json(table, "example"),
    )
    _check_name(table, "type", found.type)
    table.done()
    return found


def _check_name(table: Table, key: str, name: str) -> None:
    """What stands behind `event:` must not break the line, nor pass for EventSource's own events."""
    if table.has(key) and (not names.TYPE.fullmatch(name) or name in names.RESERVED_TYPES):
        table.wrong(key, "is not a name that an event may have (letters, digits, _ . : -; not error, open, message)")


def _json(table: Table, name: str) -> dict[str, Any]:
    """A JSON object, written as a TOML table or as JSON text (TOML has no null)."""
    value = table.raw(name)
    try:
        # Both ways: TOML has dates, and it has nan and inf as Python's JSON does; nobody else's reader takes those.
        value = json.loads(json.dumps(json.loads(value) if isinstance(value, str) else value, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:
        table.wrong(name, f"is not valid JSON: {error}")
        return {}
    if value is None:
        table.wrong(name, "is missing")
    elif not isinstance(value, dict):
        table.wrong(name, "must be an object")
    return value if isinstance(value, dict) else {}


def _route(table: Table) -> ContractRoute:
    does = table.choice("does", _TRANSPORTS, "sse")
    mint = does == "mint"
    id_in, id_name = _id_place(table)
    replay = table.choice("replay", ("none", "cursor", "window"), "none")
    ended = table.choice("ended", ("replay", "last", "refuse"), "refuse")
    route = ContractRoute(
        name=_name(table),
        does=does,
        method=table.choice("method", ("GET", "POST"), "POST" if mint else "GET"),
        path=_path(table),
        kind=_kind(table) if table.has("kind") else None,
        id_in=id_in,
        id_name=id_name,
        credentials=table.texts("credentials", CREDENTIALS),
        frame=_frame(table.table("frame"), needed=not mint),
        types=table.texts("types") if table.has("types") else None,
        hidden=tuple(_hidden(part) for part in table.tables("hide")),
        opening=_fixed(table, "opening"),
        closing=_fixed(table, "closing"),
        heartbeat=_heartbeat(table),
        heartbeat_blank_line=table.get("heartbeat_blank_line", bool, False),
        heartbeat_seconds=_number(table, "heartbeat_seconds", 15, 1, 3600),
        replay=replay,
        replay_seconds=_number(table, "replay_seconds", 0, 0, 86400),
        overflow=table.choice("overflow", ("catch_up", "drop"), "catch_up"),
        overflow_frames=_number(table, "overflow_frames", 64, 1, 10_000),
        ended=ended,
        ended_type=table.get("ended_type", str, "") or None,
        options=table.texts("options", OPTIONS),
        inbound_type=table.get("inbound_type", str, "") or None,
        mints=table.get("mints", str, "") or None,
        mint_status=_number(table, "mint_status", 200, 200, 201),
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
    _check_path(table, route)


def _check_path(table: Table, route: ContractRoute) -> None:
    in_path = path_parameters(route.path)
    if len(in_path) != len(set(in_path)):
        table.wrong("path", "names a parameter twice")
    if route.kind is None and "kind" not in in_path:
        table.wrong("kind", "is missing: give it here, or as {kind} in the path")
    known = {"kind"} if route.kind is None else set()
    for name in sorted(set(in_path) - known - ({route.id_name} if route.id_in == "path" else set())):
        table.wrong("path", f"holds {{{name}}}, which nothing reads: only the id, and kind where it is not given")
    if route.id_in == "path" and route.id_name not in in_path:
        table.wrong("id", f"names {route.id_name!r}, which the path does not hold")


def _path(table: Table) -> str:
    path = table.get("path", str)
    if table.has("path") and not re.fullmatch(r"(/([A-Za-z0-9._-]+|\{\w+\}))+", path):
        table.wrong("path", "must look like /v1/calls/{call_id}/events")
    return path


def _id_place(table: Table) -> tuple[str, str]:
    """`id = "path:call_id"` or `"query:callId"`."""
    where, _, name = table.get("id", str).partition(":")
    if table.has("id") and (where not in ("path", "query") or not name):
        table.wrong("id", 'must say where the id stands, as "path:NAME" or "query:NAME"')
    return where, name


def _frame(table: Table, *, needed: bool) -> Frame:
    if not needed:
        table.done()
        return Frame(False, False, "payload")
    members = table.table("members")
    frame = Frame(
        table.get("event", bool, True),
        table.get("id", bool, True),
        table.choice("data", ("payload", "envelope", "flat")),
        tuple((name, _member(members, name, value)) for name, value in members.items()),
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
    fixed = Fixed(inner.get("event", str, "") or None, json.dumps(_json(inner, "data")))
    _check_name(inner, "event", fixed.event or "")
    inner.done()
    return fixed


def _heartbeat(table: Table) -> str:
    text = table.get("heartbeat", str, "keepalive")
    if not re.fullmatch(r"[ -~]{1,64}", text):
        table.wrong("heartbeat", "must be 1 to 64 printable characters; it is sent behind a colon and a space")
    return text


def _number(table: Table, name: str, default: int, low: int, high: int) -> int:
    number = table.get(name, int, default)
    if not low <= number <= high:
        table.wrong(name, f"is {number}; give {low} to {high}")
    return number


def _errors(table: Table) -> tuple[dict[str, ErrorForm], str | None]:
    template = table.raw("template")
    forms: dict[str, ErrorForm] = {}
    for case in ERROR_STATUS:
        if table.has(case):
            inner = table.table(case)
            forms[case] = ErrorForm(
                _number(inner, "status", ERROR_STATUS[case], 400, 599),
                inner.get("code", str, case),
                inner.get("message", str),
            )
            inner.done()
    table.done()
    return forms, None if template is None else json.dumps(_json(table, "template"))
