"""What schemas are made of. Pure."""

from __future__ import annotations

from typing import Any

from app.web.http import shapes

Schema = dict[str, Any]


def record(about: str, required: Schema, optional: Schema | None = None) -> Schema:
    """An object with these members, all of them required but the optional ones."""
    return {
        "type": "object",
        "description": about,
        "properties": required | (optional or {}),
        "required": list(required),
    }


def closed(schema: Schema) -> Schema:
    """What we read, rather than answer: members that it does not name are refused."""
    return schema | {"additionalProperties": False}


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    return schema | {"type": [schema["type"], "null"]}


def list_of(name: str) -> Schema:
    """One page of a list of what has this name."""
    return record(
        "One page of a list. next_cursor is null on the last page.",
        {"data": {"type": "array", "items": ref(name)}, "next_cursor": or_null(CURSOR)},
    )


def searched(rows: Schema) -> Schema:
    """One page of a list that is searched for."""
    return record(
        "One page of a list. It looks at some thousands of rows at most, so it may have fewer rows than limit, or none,"
        " and a next page. next_cursor is null on the last page.",
        {"data": {"type": "array", "items": rows}, "next_cursor": or_null(CURSOR)},
        {"searched_to": TIME | {"description": "how far this page has looked, where it ended before it was full"}},
    )


def ref(name: str) -> Schema:
    """What has this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def one_of(*texts: str) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": list(texts)}


TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
NUMBER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME = shapes.TIME
CURSOR: Schema = {"type": "string", "format": "cursor"}
ANY_OBJECT: Schema = {"type": "object"}
NULL: Schema = {"type": "null"}
