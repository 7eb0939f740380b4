"""A line of the log as JSON: one object, whose first members every line has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
OWN = ("time", "level", "logger", "process", "message")  # in this order, in every line


def as_json(
    time: str,
    level: str,
    logger: str,
    process: int,
    message: str,
    fields: Mapping[str, Any],
    exception: str = "",
) -> str:
    """The line, without its end. time: RFC 3339 in UTC. level: as logging calls it. fields: further members, of which
    none takes the place of an own one, and none without a value is written. exception: a traceback, or ""."""
    line: dict[str, Any] = dict(zip(OWN, (time, level.lower(), logger, process, message), strict=True))
    line |= {name: value for name, value in fields.items() if name not in OWN and value is not None}
    if exception:
        line["exception"] = exception
    return _to_json(line)
