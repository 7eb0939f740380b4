"""Reading posted events: bytes in, drafts or refusals out, one for each event and in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.core.event.names import EXTERNAL_ID, EXTERNAL_ID_HINT, KEY, KIND, KIND_HINT, RESERVED_TYPES, TYPE
from app.core.problem import Problem, invalid
from app.core.wire import json_text
from app.core.wire.json_text import BLANK, read_json

FIELDS = ("stream", "type", "data", "occurred_at", "idempotency_key")


@dataclass(frozen=True, slots=True)
class Draft:
    """An event as posted, checked in itself. data: compact JSON text; value: the same, parsed."""

    kind: str
    stream_id: str
    type: str
    data: str
    value: Any
    occurred_at: datetime | None
    idempotency_key: str | None


def read_event(raw: bytes, max_bytes: int, max_depth: int) -> Draft:
    """One event from the bytes of one JSON object. Raises Problem."""
    if len(raw) > max_bytes:
        raise Problem("too_large", f"The event has {len(raw)} bytes; the most is {max_bytes}.")
    text, value = read_json(raw, max_depth)
    return _draft(text.strip(BLANK), value)


def _draft(text: str, value: Any) -> Draft:
    if not isinstance(value, dict):
        raise Problem("invalid", "An event must be a JSON object with stream, type and data.")
    errors = _field_errors(value)
    if errors:
        raise Problem("invalid", "; ".join(f"{e['field']}: {e['detail']}" for e in errors), errors=errors)
    given = json_text.members(text)
    found = {name: raw for name, raw, _ in given}
    if len(given) != len(value) or len(json_text.members(found["stream"])) != len(value["stream"]):
        raise invalid("body", "a field is given twice")
    occurred_at = read_time(value["occurred_at"]) if value.get("occurred_at") is not None else None
    return Draft(
        value["stream"]["kind"],
        value["stream"]["id"],
        value["type"],
        json_text.compact(found["data"]),
        value["data"],
        occurred_at,
        value.get("idempotency_key"),
    )


def read_time(text: str) -> datetime:
    """RFC 3339 text (section 5.6) as an aware UTC datetime, to the microsecond. Raises ValueError."""
    if not _TIME.fullmatch(text):  # fromisoformat takes week dates, any separator and more
        raise ValueError("not an RFC 3339 time with its offset")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("the year is out of range") from None


def _field_errors(value: dict[str, Any]) -> list[dict[str, str]]:
    errors = [_error(name, f"unknown field; an event has {', '.join(FIELDS)}") for name in value if name not in FIELDS]
    errors += _stream_errors(value.get("stream"))
    kind = value.get("type")
    if not isinstance(kind, str) or not TYPE.fullmatch(kind):
        errors.append(_error("type", "give letters, digits and _ . : - (at most 128), such as call.barge_in"))
    elif kind in RESERVED_TYPES:
        errors.append(_error("type", f"{kind} is reserved by EventSource; choose another name"))
    if "data" not in value:
        errors.append(_error("data", "is missing; give an object, {} if there is nothing to say"))
    elif not isinstance(value["data"], dict):
        errors.append(_error("data", "must be an object"))
    key = value.get("idempotency_key")
    if key is not None and (not isinstance(key, str) or not KEY.fullmatch(key)):
        errors.append(_error("idempotency_key", "give 1 to 255 printable ASCII characters without spaces"))
    return errors + _time_errors(value.get("occurred_at"))


def _stream_errors(stream: Any) -> list[dict[str, str]]:
    if not isinstance(stream, dict):
        return [_error("stream", 'give an object such as {"kind": "call", "id": "call_1"}')]
    errors = [
        _error(f"stream.{name}", "unknown field; a stream has kind and id") for name in stream.keys() - {"kind", "id"}
    ]
    if not isinstance(stream.get("kind"), str) or not KIND.fullmatch(stream["kind"]):
        errors.append(_error("stream.kind", KIND_HINT))
    if not isinstance(stream.get("id"), str) or not EXTERNAL_ID.fullmatch(stream["id"]):
        errors.append(_error("stream.id", EXTERNAL_ID_HINT))
    return errors


def _time_errors(text: Any) -> list[dict[str, str]]:
    if text is None:
        return []
    try:
        if not isinstance(text, str):
            raise ValueError
        read_time(text)
    except ValueError:
        return [_error("occurred_at", "give an RFC 3339 time with its offset, such as 2026-11-20T10:00:00.123Z")]
    return []


def _error(field: str, detail: str) -> dict[str, str]:
    return {"field": field, "detail": detail}


_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
