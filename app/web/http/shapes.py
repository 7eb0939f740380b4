"""Fields, ids and names as JSON Schema (2020-12), for the API's description. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from app.core import ids, times
from app.core.event import names
from app.core.event.filters import reading
from app.web.http.fields import ENDPOINT_NAME, LAST_SEQ, Field

Schema = dict[str, Any]


def matching(pattern: str | re.Pattern[str], **more: Any) -> Schema:
    """A text that is this pattern from its beginning to its end."""
    text = pattern if isinstance(pattern, str) else pattern.pattern
    return {"type": "string", "pattern": f"^(?:{text})$", **more}


def id_of(prefix: str) -> Schema:
    """One of our ids."""
    return matching(ids.pattern(prefix))


# JSON Schema has no word for it, and PostgreSQL cannot keep it.
NO_NUL = r"^[^\u0000]*$"
TIME: Schema = {"type": "string", "format": "date-time"}
KIND = matching(names.KIND)
NEW_KIND = matching(names.NEW_KIND)
STREAM_ID = matching(names.EXTERNAL_ID)
TYPE = matching(names.TYPE)
NEW_TYPE: Schema = TYPE | {"not": {"enum": sorted(names.RESERVED_TYPES)}}
WORKSPACE = matching(names.UID)  # an id of ours is one, too
ENDPOINT = matching(ENDPOINT_NAME)
KEY = matching(names.KEY)
CHANNELS: Schema = {"type": "array", "items": matching(names.CHANNEL), "maxItems": names.MOST_CHANNELS}
METADATA: Schema = {
    "type": "object",
    "maxProperties": names.MOST_METADATA,
    "propertyNames": matching(names.METADATA_NAME),
    "additionalProperties": {
        "type": ["string", "number", "boolean", "null"],
        "maxLength": names.LONGEST_METADATA,
    },
}
LAST_EVENT_ID = matching("[0-9]{1,18}")
SEQ: Schema = {"type": "integer", "minimum": 0, "maximum": LAST_SEQ}


# A content filter, as app/core/event/filters/reading.py reads it. What is inside and, or and not is one again, which is
# told in words: tools that make requests from descriptions do not follow circles.
_VALUE: Schema = {"type": ["string", "number", "boolean", "null"]}
_BOUND: Schema = {"type": ["string", "number"]}
_FILTERS: Schema = {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": reading.MOST_TESTS}
_TESTS: Schema = {
    "eq": _VALUE,
    "in": {"type": "array", "items": _VALUE, "minItems": 1, "maxItems": reading.MOST_VALUES},
    **dict.fromkeys(reading.RANGES, _BOUND),
    "exists": {"type": "boolean"},
}
_PATH: Schema = matching(rf"(?:/(?:[^~/\u0000]|~[01])*){{1,{reading.MOST_STEPS}}}", maxLength=reading.LONGEST_PATH)


def _closed(properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


FILTER: Schema = {
    "anyOf": [
        _closed({"path": _PATH, **_TESTS}, required=["path"], minProperties=2),
        _closed({"and": _FILTERS | {"description": "filters, all of which must hold"}}, required=["and"]),
        _closed({"or": _FILTERS | {"description": "filters, one of which must hold"}}, required=["or"]),
        _closed({"not": {"type": "object", "description": "a filter that must not hold"}}, required=["not"]),
        {"type": "null"},
    ]
}


def schema(item: Field) -> Schema:
    """The field as JSON Schema."""
    made: Schema = {"description": item.about, **_SHAPES[item.kind](item)}
    if item.choices:
        (made["items"] if item.kind == "texts" else made)["enum"] = list(item.choices)
    made |= item.shape
    if item.nullable:
        made["type"] = [made["type"], "null"]
    if item.example is not None:
        made["examples"] = [item.example]
    return made


def body_schema(fields: Sequence[Field]) -> Schema:
    """A request body."""
    made: Schema = {
        "type": "object",
        "description": "What the request takes." if fields else "An object without members, or no body.",
        "properties": {item.name: schema(item) for item in fields},
        "additionalProperties": False,
    }
    required = [item.name for item in fields if item.required]
    return made | ({"required": required} if required else {})


def _text(item: Field) -> Schema:
    made: Schema = matching(item.pattern) if item.pattern else {"type": "string", "pattern": NO_NUL}
    made["maxLength"] = item.longest
    if item.shortest:
        made["minLength"] = item.shortest
    return made


def _integers(item: Field) -> Schema:
    least, most = item.each
    numbers = {"type": "integer", "minimum": least, "maximum": most}
    return {"type": "array", "items": numbers, "minItems": item.least, "maxItems": item.most}


def _texts(item: Field) -> Schema:
    return {"type": "array", "items": _text(item), "minItems": item.least, "maxItems": item.most}


_SHAPES: dict[str, Callable[[Field], Schema]] = {
    "text": _text,
    "time": lambda _: TIME | matching(times.TIME),
    "integer": lambda item: {"type": "integer", "minimum": item.least, "maximum": item.most},
    "integers": _integers,
    "boolean": lambda _: {"type": "boolean"},
    "texts": _texts,
    "text_map": lambda _: {"type": "object", "additionalProperties": {"type": "string"}},
    "object": lambda _: {"type": "object"},
}
