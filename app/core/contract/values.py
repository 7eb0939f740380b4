"""Values that several tables of a contract file hold: names, kinds, types, JSON objects."""

from __future__ import annotations

import json
import re
from typing import Any

from app.core.contract.strict_table import Table
from app.core.event import names


def name_of(table: Table) -> str:
    """The table's `name`: a lowercase letter, then lowercase letters, digits and _."""
    name = table.get("name", str)
    if table.has("name") and not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        table.wrong("name", "must be a lowercase letter, then lowercase letters, digits and _")
    return name


def kind_of(table: Table) -> str:
    """The table's `kind`: a kind of stream."""
    kind = table.get("kind", str)
    if table.has("kind") and not names.NEW_KIND.fullmatch(kind):
        table.wrong("kind", names.KIND_HINT)
    return kind


def check_type(table: Table, key: str, name: str) -> None:
    """Complain of a name that cannot follow `event:`: it would break the line, or is one of EventSource's own."""
    if table.has(key) and (not names.TYPE.fullmatch(name) or name in names.RESERVED_TYPES):
        table.wrong(
            key, "is not a name that an event may have (letters, digits, _ . : -; not error, open, message or reset)"
        )


def json_object(table: Table, name: str) -> dict[str, Any]:
    """A JSON object, written as a TOML table or as JSON text (TOML has no null)."""
    value = table.raw(name)
    try:
        # Written and read again: TOML has dates, nan and inf. They are no JSON, though Python reads the last two.
        value = json.loads(json.dumps(json.loads(value) if isinstance(value, str) else value, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:
        table.wrong(name, f"is not valid JSON: {error}")
        return {}
    if value is None:
        table.wrong(name, "is missing")
    elif not isinstance(value, dict):
        table.wrong(name, "must be an object")
    return value if isinstance(value, dict) else {}
