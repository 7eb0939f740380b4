"""JSON as text: parsed strictly, split into elements or members that keep the producer's own spelling."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Sized
from itertools import accumulate
from typing import Any

from app.core.problem import Problem

_ARRAY_DEPTH = 300  # of a batch: deeper than any event may be, shallow enough for the parser's recursion
BLANK = " \t\r\n"
_BLANKS = frozenset(BLANK)
_MOST_MEMBERS = 64  # of an object that is read member by member: an event has ten
_DIGITS = 4000  # CPython refuses to turn more than 4300 digits into an int (CVE-2020-10735)


def read_json(raw: bytes, max_depth: int) -> tuple[str, Any]:
    """Strict JSON (RFC 8259) without NUL from bytes: the text and the value. Raises Problem for anything else."""
    text = _text(raw, max_depth)
    value = _value(text)
    _refuse_nul(text)
    return text, value


def read_members(raw: bytes, max_depth: int) -> tuple[Any, list[tuple[str, str]]]:
    """The value of JSON as read_json reads it, and of an object each member's name and raw value text, in order: a name
    that is given twice is there twice. Raises Problem.

    In one pass. An object without members, and what is none, has none; nor has one with more of them than anything that
    is read so may have.
    """
    text = _text(raw, max_depth)
    value, spelled = _in_one_pass(text) or (_value(text), [])
    _refuse_nul(text)
    return value, spelled


def _in_one_pass(text: str) -> tuple[dict[str, Any], list[tuple[str, str]]] | None:
    """An object's value and its members' texts; None where there is no valid object with members."""
    value: dict[str, Any] = {}
    spelled: list[tuple[str, str]] = []
    name_at, end = _OPENING.match(text), 0
    try:
        while name_at:
            name, at = json.decoder.scanstring(text, name_at.end(), True)  # type: ignore[attr-defined]
            colon = _BETWEEN.match(text, at)
            if colon is None:
                return None
            start = colon.end()
            value[name], end = _DECODER.raw_decode(text, start)
            spelled.append((name, text[start:end]))
            if len(spelled) > _MOST_MEMBERS:  # the parser in C is quicker with what will be refused
                return None
            name_at = _FURTHER.match(text, end)
    except (ValueError, RecursionError):
        return None
    return (value, spelled) if spelled and _CLOSING.fullmatch(text, end) else None


def _value(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def _refuse_nul(text: str) -> None:
    if "\\u0000" in text and _ESCAPED_NUL.search(text):  # an unescaped one is no JSON
        raise Problem(
            "invalid", "A string holds a NUL character (\\u0000), which many receivers cannot store; drop it."
        )


def _text(raw: bytes, max_depth: int) -> str:
    """The text of a body, shallow enough to be parsed."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Problem("invalid_json", f"The body is not UTF-8: byte {error.start} cannot be read.") from None
    if text.startswith("\ufeff"):
        raise Problem("invalid_json", "The body starts with a byte order mark; send plain UTF-8.")
    if not text.strip(BLANK):
        raise Problem("invalid_json", "The body is empty; send a JSON object.")
    if is_deeper(text, max_depth):
        raise Problem("invalid_json", f"The JSON is nested deeper than {max_depth} levels; flatten it.")
    return text


def value_of(raw: bytes) -> Any:
    """The value of JSON that was read by `read_json` before it was kept, read in the same way."""
    return _DECODER.decode(raw.decode())


def split_array(raw: bytes, most: int) -> list[bytes]:
    """The elements of a JSON array, each in its own spelling.

    Raises Problem unless it is a valid array of at most so many.

    Only what makes the array unreadable is refused here: an element that is too deep or holds a NUL fails alone, when
    it is read. Each element is parsed once, and none behind the limit.
    """
    text = _text(raw, _ARRAY_DEPTH)
    at = _past_blank(text, 0)
    if text[at] != "[":
        raise Problem("invalid", "The body must be an event object or an array of them.")
    elements: list[bytes] = []
    try:
        at = _past_blank(text, at + 1)
        while text[at : at + 1] != "]" or elements:
            _, end = _DECODER.raw_decode(text, at)
            elements.append(text[at:end].encode())
            if len(elements) > most:
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
    return elements


def _past_blank(text: str, at: int) -> int:
    while text[at : at + 1] in _BLANKS:
        at += 1
    return at


def split_lines(raw: bytes) -> list[bytes]:
    """The lines of application/x-ndjson that are not blank; only LF (or CRLF) separates lines."""
    return [line for part in raw.split(b"\n") if (line := part.strip(b" \t\r"))]


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


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse_constant)
_SPELLING = json.JSONDecoder(parse_int=str, parse_float=str)  # for where values end, whatever they are
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def members(raw: str) -> list[tuple[str, str, str]]:
    """The top-level members of a JSON object's text as (name, raw value text, the whole member's text), in order.

    raw must be a valid JSON object.
    """
    spelled: list[tuple[str, str, str]] = []
    at = _past(_COMMA, raw, 1)
    while raw[at] == '"':
        begin = at
        name, at = json.decoder.scanstring(raw, at + 1, True)  # type: ignore[attr-defined]
        start = _past(_COLON, raw, at)
        _, at = _SPELLING.raw_decode(raw, start)
        spelled.append((name, raw[start:at], raw[begin:at]))
        at = _past(_COMMA, raw, at)
    return spelled


def repeats_a_name(raw: str, value: Sized) -> bool:
    """Whether a JSON object's text, whose value this is, gives one of its own names twice."""
    if raw.count(":") == len(value):  # each member has one, so most need not be taken apart
        return False
    return len(members(raw)) != len(value)


def compact(raw: str) -> str:
    """Valid JSON text without the white space outside its strings; every number and string as it was spelled."""
    return "".join(_INSIDE.findall(raw)) if _SPACE_OUTSIDE.match(raw) else raw


def is_deeper(raw: str, levels: int) -> bool:
    """Whether arrays and objects in JSON text are nested deeper than so many levels; one pass, without recursion.

    Text that is not JSON may be called either way, but what is not called deep can be parsed without deep recursion.
    """
    if raw.count("[") + raw.count("{") <= levels:
        return False
    depth = at = 0
    while piece := _PIECE.match(raw, at):  # in pieces: 4 MB of brackets are too deep after a few hundred of them
        # Counted in C: a loop in Python over 4 MB of brackets would hold the event loop for most of a second.
        steps = array("b", _NOT_BRACKETS.sub("", piece[0]).encode("ascii").translate(_STEPS))
        if depth + max(accumulate(steps), default=0) > levels:
            return True
        depth += sum(steps)
        at = piece.end()
    return False


def _past(sign: re.Pattern[str], raw: str, at: int) -> int:
    """Behind a sign and the white space around it, of which either may be missing."""
    found = sign.match(raw, at)
    return found.end() if found else at


_COLON, _COMMA = (re.compile(rf"[ \t\n\r]*{sign}?[ \t\n\r]*") for sign in ":,")

# Possessive quantifiers (no backtracking), and a string that is not closed reaches to the end: every text takes linear
# time. With plain quantifiers 30 KB of escaped quotes took seconds.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_INSIDE = re.compile(rf'{_STRING}|[^ \t\n\r"]++', re.DOTALL)  # all of a JSON text but the white space outside strings
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level in, or (as a signed byte) one out
_NOT_BRACKETS = re.compile(rf'{_STRING}|[^\[\]{{}}"]++', re.DOTALL)
_PIECE = re.compile(rf'(?:{_STRING}|[^"]{{1,256}}+){{1,256}}+', re.DOTALL)  # ends outside strings
_SPACE_OUTSIDE = re.compile(rf'(?:[^ \t\n\r"]++|{_STRING})*+[ \t\n\r]', re.DOTALL)  # up to the first
# Of an object's text: what is before its first name, between a name and its value, before another name, and at its end.
_OPENING, _BETWEEN, _FURTHER, _CLOSING = (
    re.compile(rf"[ \t\n\r]*{sign}") for sign in (r'\{[ \t\n\r]*"', r":[ \t\n\r]*", r',[ \t\n\r]*"', r"\}[ \t\n\r]*")
)
