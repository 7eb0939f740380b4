"""What must be right in a contract as a whole: names that refer to one another, and settings that go together.

Each check yields complaints: (place such as routes[0].path, what is wrong and the fix).
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.contract.frames import values_named
from app.core.contract.model import Contract, ContractRoute
from app.core.contract.strict_table import nearest
from app.core.event.filters import matches

Complaint = tuple[str, str]

FIXED_VALUES = ("$new_id", "$now", "$stream_id")
RESET_VALUES = (*FIXED_VALUES, "$last_seq")
ERROR_VALUES = ("$code", "$message", "$status", "$fault", "$stream_id", "$trace_id", "$now")


def check(contract: Contract) -> Iterator[Complaint]:
    """Everything that is wrong with a contract whose tables are each valid."""
    for number, (kind, endings) in enumerate(contract.endings.items()):
        for index, ending in enumerate(endings):
            yield from _declared(contract, kind, f"streams[{number}].ends[{index}].type", ending.type)
        yield from _late(contract, kind, f"streams[{number}].late")
    names = [route.name for route in contract.routes]
    for index, route in enumerate(contract.routes):
        place = f"routes[{index}]"
        if names.index(route.name) != index:
            yield f"{place}.name", f"{route.name!r} is given twice"
        yield from _speaking(place, route)
        yield from _types(contract, place, route)
        if route.does == "mint":
            yield from _mint(contract, place, route)
    yield from _events(contract)
    if contract.error_template is not None:
        yield from _template("errors.template", contract.error_template, ERROR_VALUES)


def _late(contract: Contract, kind: str, place: str) -> Iterator[Complaint]:
    late = contract.late.get(kind)
    for type in late.types if late is not None else ():
        yield from _declared(contract, kind, place, type)
        if any(ending.type == type for ending in contract.endings[kind]):
            yield place, f"has {type!r}, which ends the stream: it cannot follow the end"


def _events(contract: Contract) -> Iterator[Complaint]:
    seen: set[tuple[str, str]] = set()
    for index, declared in enumerate(contract.events):
        if declared.kind not in contract.endings:
            yield f"events[{index}].kind", _no_kind(contract, declared.kind)
        if (declared.kind, declared.type) in seen:
            yield f"events[{index}].type", f"{declared.type!r} is given twice for the kind {declared.kind!r}"
        seen.add((declared.kind, declared.type))


def _speaking(place: str, route: ContractRoute) -> Iterator[Complaint]:
    """Settings that go with server-sent events, with WebSockets or with mints."""
    if route.does == "websocket":
        if route.method != "GET":
            yield f"{place}.method", "must be GET: a WebSocket opens with one (RFC 6455)"
        if "speed" in route.options:
            yield f"{place}.options", 'has "speed", which only server-sent events have'
    if route.does == "mint":
        if any(way.startswith("token:") for way in route.credentials):
            yield f"{place}.credentials", "must not hold a token: a token could then renew itself for ever"
    elif route.replay != "none" and route.does == "sse" and not route.frame.id and "after_seq" not in route.options:
        yield f"{place}.replay", "needs frame.id = true: without ids no client knows where it stands"
    for name, fixed in (("opening", route.opening), ("closing", route.closing), ("reset", route.reset)):
        if fixed is None:
            continue
        yield from _template(f"{place}.{name}", fixed.data, RESET_VALUES if name == "reset" else FIXED_VALUES)
        if fixed.event is not None and route.does == "websocket":
            yield f"{place}.{name}.event", "does not exist on a WebSocket; say it inside data"


def _types(contract: Contract, place: str, route: ContractRoute) -> Iterator[Complaint]:
    if route.kind is None:
        return
    if route.kind not in contract.endings:
        yield f"{place}.kind", _no_kind(contract, route.kind)
        return
    types = _types_of(contract, route.kind)
    for pattern in route.types or ():
        if not any(matches((pattern,), None, type=type, kind="") for type in types):
            yield f"{place}.types", f"has {pattern!r}, which is no declared type{nearest(pattern, types)}"
    for index, rule in enumerate(route.hidden):
        if not any(matches((rule.type,), None, type=type, kind="") for type in types):
            yield f"{place}.hide[{index}].type", f"is {rule.type!r}, no declared type{nearest(rule.type, types)}"
    for name, needed in (("inbound_type", route.inbound_type), ("ended_type", route.ended_type)):
        if needed is not None:
            yield from _declared(contract, route.kind, f"{place}.{name}", needed)


def _mint(contract: Contract, place: str, route: ContractRoute) -> Iterator[Complaint]:
    opened = next((other for other in contract.routes if other.name == route.mints), None)
    others = [other.name for other in contract.routes if other is not route]
    if opened is None:
        yield f"{place}.mints", f"names {route.mints!r}, which is no route{nearest(route.mints or '', others)}"
    elif opened.kind != route.kind or opened.does == "mint":
        yield f"{place}.mints", "must name a live route of the same kind"
    elif not any(way.startswith("token:") for way in opened.credentials):
        yield f"{place}.mints", f'names {route.mints!r}, which takes no token; give it "token:bearer" as a credential'


def _declared(contract: Contract, kind: str, place: str, type: str) -> Iterator[Complaint]:
    types = _types_of(contract, kind)
    if type not in types:
        yield place, f"is {type!r}, which no [[events]] of the kind {kind!r} declares{nearest(type, types)}"


def _types_of(contract: Contract, kind: str) -> list[str]:
    return [declared.type for declared in contract.events if declared.kind == kind]


def _no_kind(contract: Contract, kind: str) -> str:
    return f"is {kind!r}, which no [[streams]] declares{nearest(kind, contract.endings)}"


def _template(place: str, template: str, values: tuple[str, ...]) -> Iterator[Complaint]:
    for name in values_named(template):
        if name not in values:
            yield place, f"speaks of {name}, which is not known here; give {', '.join(values)}{nearest(name, values)}"
