"""Reading posted events: bytes in, drafts or refusals out, one for each event and in order."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.core import envelope
from app.core.problem import Problem, invalid

# Allow-lists, because the names stand in SSE lines, URLs and headers: no CR, LF, NUL, space or slash gets there.
TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
EXTERNAL_ID = re.compile(r"[A-Za-z0-9_.~:@+=-]{1,200}")
KIND_HINT = "give a small letter, then small letters, digits and _ . - (at most 64)"
EXTERNAL_ID_HINT = "give 1 to 200 of letters, digits and _ . ~ : @ + = -"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
# EventSource dispatches these names itself: an event so named could not be told from its own.
RESERVED_TYPES = frozenset({"error", "open", "message"})
FIELDS = ("stream", "type", "data", "occurred_at", "idempotency_key")
_ARRAY_DEPTH = 300  # of a batch: deeper than any event may be, shallow enough for the parser's recursion
_BLANK = " \t\r\n"
_BLANKS = frozenset(_BLANK)
_DIGITS = 4000  # CPython refuses to turn more than 4300 digits into an int (CVE-2020-10735)


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


def read_json(raw: bytes, max_depth: int) -> tuple[str, Any]:
    """Strict JSON (RFC 8259) without NUL from bytes: the text and the value. Raises Problem for anything else."""
    text, value = _parse(raw, max_depth)
    if _ESCAPED_NUL.search(text):  # a raw one is no JSON
        raise Problem(
            "invalid", "A string holds a NUL character (\\u0000), which many receivers cannot store; drop it."
        )
    return text, value


def _parse(raw: bytes, max_depth: int) -> tuple[str, Any]:
    text = _text(raw, max_depth)
    try:
        return text, _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def _text(raw: bytes, max_depth: int) -> str:
    """The text of a body that may be parsed without danger."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Problem("invalid_json", f"The body is not UTF-8: byte {error.start} cannot be read.") from None
    if text.startswith("\ufeff"):
        raise Problem("invalid_json", "The body starts with a byte order mark; send plain UTF-8.")
    if not text.strip(_BLANK):
        raise Problem("invalid_json", "The body is empty; send a JSON object.")
    if envelope.is_deeper(text, max_depth):
        raise Problem("invalid_json", f"The JSON is nested deeper than {max_depth} levels; flatten it.")
    return text


def read_event(raw: bytes, max_bytes: int, max_depth: int) -> Draft:
    """One event from the bytes of one JSON object. Raises Problem."""
    if len(raw) > max_bytes:
        raise Problem("too_large", f"The event has {len(raw)} bytes; the most is {max_bytes}.")
    text, value = read_json(raw, max_depth)
    return _draft(text.strip(_BLANK), value)


def split_array(raw: bytes, most: int) -> list[bytes]:
    """The elements of a JSON array, each in its own spelling. Raises Problem unless it is a valid array of at most so
    many.

    Only what makes the array unreadable is refused here: an element that is too deep or holds a NUL fails alone, when
    it is read. Each element is parsed once, and none behind the limit.
    """
    text = _text(raw, _ARRAY_DEPTH)
    at = _past_blank(text, 0)
    if text[at] != "[":
        raise Problem("invalid", "The body must be an event object or an array of them.")
    parts: list[bytes] = []
    try:
        at = _past_blank(text, at + 1)
        while text[at : at + 1] != "]" or parts:
            _, end = _DECODER.raw_decode(text, at)
            parts.append(text[at:end].encode())
            if len(parts) > most:
                raise Problem("too_large", f"The batch has more than {most} events, the most there may be; split it.")
            at = _past_blank(text, end)
            if text[at : at + 1] != ",":
                break
            at = _past_blank(text, at + 1)
        if text[at : at + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        if (at := _past_blank(text, at + 1)) < len(text):
            raise json.JSONDecodeError("Extra data", text, at)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None
    return parts


def _past_blank(text: str, at: int) -> int:
    while text[at : at + 1] in _BLANKS:
        at += 1
    return at


def split_lines(raw: bytes) -> list[bytes]:
    """The lines of application/x-ndjson that hold anything; only LF (or CRLF) separates lines."""
    return [line for part in raw.split(b"\n") if (line := part.strip(b" \t\r"))]


def _draft(text: str, value: Any) -> Draft:
    if not isinstance(value, dict):
        raise Problem("invalid", "An event must be a JSON object with stream, type and data.")
    errors = _field_errors(value)
    if errors:
        raise Problem("invalid", "; ".join(f"{e['field']}: {e['detail']}" for e in errors), errors=errors)
    given = envelope.members(text)
    found = {name: raw for name, raw, _ in given}
    if len(given) != len(value) or len(envelope.members(found["stream"])) != len(value["stream"]):
        raise invalid("body", "a field is given twice")
    occurred_at = read_time(value["occurred_at"]) if value.get("occurred_at") is not None else None
    return Draft(
        value["stream"]["kind"],
        value["stream"]["id"],
        value["type"],
        envelope.compact(found["data"]),
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


def _not_json(error: Exception) -> Problem:
    return Problem("invalid_json", f"The body is not valid JSON: {_reason(error)}.")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at line {error.lineno}, column {error.colno}"
    return str(error) or "it is nested too deep"


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS else float(digits)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse_constant)
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
