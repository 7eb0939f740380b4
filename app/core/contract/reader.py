"""Reads a contract from parsed TOML, strictly: an unknown or missing key is refused, with its place and the fix.

The parsed tables come in, a Contract or a list of complaints comes out. `docs/contracts.md` explains the format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.core.contract import checks
from app.core.contract.model import ERROR_STATUS, Contract, Ending, ErrorForm, EventType, Late
from app.core.contract.route_reader import read_route
from app.core.contract.strict_table import Table
from app.core.contract.values import check_type, json_object, kind_of, name_of

LONGEST_LINGER_SECONDS = 3600  # a viewer of an ended stream is a connection that shows nothing


class ContractError(ValueError):
    """A contract file that cannot be used. complaints: (place such as routes[0].path, what is wrong and the fix)."""

    def __init__(self, complaints: Iterable[tuple[str, str]]) -> None:
        self.complaints = list(complaints)
        super().__init__("; ".join(f"{place}: {text}" for place, text in self.complaints))


def read_contract(tables: Mapping[str, Any]) -> Contract:
    """A contract from a parsed TOML file. Raises ContractError with every complaint."""
    complaints: list[tuple[str, str]] = []
    top = Table(dict(tables), "", complaints)
    name, about = name_of(top), top.get("about", str, "")
    id_patterns: dict[str, str] = {}
    endings: dict[str, tuple[Ending, ...]] = {}
    late: dict[str, Late] = {}
    for stream in top.tables("streams"):
        kind = kind_of(stream)
        if kind in endings:
            stream.wrong("kind", f"{kind!r} is given twice")
        if pattern := _pattern(stream):
            id_patterns[kind] = pattern
        endings[kind] = tuple(_ending(table) for table in stream.tables("ends"))
        if types := _late(stream):
            late[kind] = types
        stream.done()
    events = tuple(_event_type(table) for table in top.tables("events"))
    routes = tuple(read_route(table) for table in top.tables("routes"))
    errors, template = _errors(top.table("errors"))
    top.done()
    if complaints:
        raise ContractError(complaints)
    contract = Contract(name, about, id_patterns, endings, late, events, routes, errors, template)
    if complaints := list(checks.check(contract)):
        raise ContractError(complaints)
    return contract


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


def _late(table: Table) -> Late | None:
    """What may follow the end of a kind's streams, if anything."""
    late = Late(table.texts("late"), table.number("linger_seconds", 0, 0, LONGEST_LINGER_SECONDS))
    if late.linger_seconds and not late.types:
        table.wrong("linger_seconds", "goes with late: the routes stay open for the types that it names")
    return late if late.types else None


def _event_type(table: Table) -> EventType:
    declared = EventType(
        kind=kind_of(table),
        type=table.get("type", str),
        check=table.choice("check", ("warn", "reject"), "warn"),
        about=table.get("about", str, ""),
        schema=json_object(table, "schema"),
        example=json_object(table, "example"),
    )
    check_type(table, "type", declared.type)
    table.done()
    return declared


def _errors(table: Table) -> tuple[dict[str, ErrorForm], str | None]:
    template = table.raw("template")
    forms: dict[str, ErrorForm] = {}
    for case in ERROR_STATUS:
        if table.has(case):
            inner = table.table(case)
            forms[case] = ErrorForm(
                inner.number("status", ERROR_STATUS[case], 400, 599),
                inner.get("code", str, case),
                inner.get("message", str),
            )
            inner.done()
    table.done()
    return forms, None if template is None else json.dumps(json_object(table, "template"))
