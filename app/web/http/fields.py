"""Bodies and queries as tables: a field is declared once, to be checked, to be explained when wrong, to be documented.

Pure: values in, values or complaints out.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from app.core import ids
from app.core.event import names
from app.core.event.filters import BELOW
from app.core.problem import MOST_COMPLAINTS, MOST_NAME_LETTERS, Complaint, complaint
from app.core.times import TIME_HINT, read_time

LAST_SEQ = (
    10**18 - 1
)  # of a number in a query or a header: 18 digits, which PostgreSQL's bigint holds whatever they are
_LONGEST_TEXT = 1000  # of a text that declares no other limit: descriptions and names, not documents
_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a body, or one query parameter.

    kind: text, integer, integers, boolean, object, texts, text_map, time. about: what it is, for the documentation.
    pattern: what a text (or each of several) must match. hint: the same in words, the end of a sentence that begins
    with the field's name. shortest and longest bound the length of a text, least and most a number or the length of an
    array, each the numbers in it. needs: another field, without which this one means nothing. shape: what the
    documentation says besides, as JSON Schema: rules that are checked where the value is used.
    """

    name: str
    kind: str
    about: str
    required: bool = False
    nullable: bool = False
    pattern: re.Pattern[str] | None = None
    hint: str = ""
    choices: tuple[str, ...] = ()
    shortest: int = 0
    longest: int = _LONGEST_TEXT
    least: int = 0
    most: int = 2**63 - 1
    each: tuple[int, int] = (0, 2**31 - 1)
    needs: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict, compare=False)
    example: Any = field(default=None, compare=False)


def id_field(name: str, prefix: str, about: str) -> Field:
    """A field for one of our ids."""
    pattern = re.compile(ids.pattern(prefix))
    return Field(name, "text", about, pattern=pattern, hint=f"must be an id that begins with {prefix}_")


# An endpoint, by our id or its owner's uid.
ENDPOINT_NAME = re.compile(rf"{ids.pattern(ids.ENDPOINT)}|(?!{ids.ENDPOINT}_){names.UID.pattern}")


def endpoint_field(about: str) -> Field:
    """A query parameter that names an endpoint."""
    hint = f"must be an id that begins with {ids.ENDPOINT}_, or a uid"
    return Field("endpoint_id", "text", f"{about}, by id or uid", pattern=ENDPOINT_NAME, hint=hint)


def stream_fields(kind_about: str, id_about: str, *, kind_alone: bool = False) -> tuple[Field, Field]:
    """Two query parameters that name a stream: its kind, and its id. kind_alone: a kind without an id means something,
    too."""
    needs = "" if kind_alone else "stream_id"
    return (
        Field("stream_kind", "text", kind_about, pattern=names.KIND, hint=names.KIND_HINT, needs=needs),
        Field(
            "stream_id", "text", id_about, pattern=names.EXTERNAL_ID, hint=names.EXTERNAL_ID_HINT, needs="stream_kind"
        ),
    )


def type_filter(name: str, about: str) -> Field:
    """A query parameter for an event type, or for all that begin alike."""
    longest = names.LONGEST_TYPE + len(BELOW)
    return Field(name, "text", f"{about}; call.* means every type that begins with call.", shortest=1, longest=longest)


def time_of(args: Mapping[str, Any], name: str) -> datetime | None:
    """A time field's value; None when it was not given."""
    return read_time(args[name]) if name in args else None


def check(fields: Sequence[Field], given: Mapping[str, Any], noun: str = "field") -> list[Complaint]:
    """What is wrong with the members of `given`; empty when nothing is. noun: "field" of a body, or "parameter"."""
    known = [item.name for item in fields]
    unknown = islice((name for name in given if name not in known), MOST_COMPLAINTS + 1)
    complaints = [complaint(name, _unknown(noun, name, known, tell=not place)) for place, name in enumerate(unknown)]
    for item in fields:
        if item.name not in given:
            if item.required:
                complaints.append(complaint(item.name, f"is missing ({item.about})"))
        elif given[item.name] is None:
            if not item.nullable:
                complaints.append(complaint(item.name, "must not be null; leave it out instead"))
        elif item.needs and item.needs not in given:
            complaints.append(complaint(item.name, f"needs {item.needs} as well"))
        else:
            complaints += _CHECKS[item.kind](item, item.name, given[item.name])
    return complaints


def is_whole(value: Any) -> bool:
    """Whether a JSON value is an integer, as JSON Schema has it: 7.0 is one, too."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def from_query(fields: Sequence[Field], given: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], list[Complaint]]:
    """Query parameters as values (numbers as numbers, texts split at commas), and what is wrong with them."""
    values: dict[str, Any] = {}
    repeated = islice((name for name, texts in given.items() if len(texts) > 1), MOST_COMPLAINTS + 1)
    complaints = [complaint(name, "is given more than once") for name in repeated]
    kinds = {item.name: item.kind for item in fields}
    for name, texts in given.items():
        text = texts[0]
        is_number = kinds.get(name) == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text)
        values[name] = text.split(",") if kinds.get(name) == "texts" else int(text) if is_number else text
    return values, complaints + check(fields, values, "parameter")


def _unknown(noun: str, name: str, known: Sequence[str], *, tell: bool) -> str:
    """What to say of a name that is not known. tell: also which ones are; once in an answer is enough."""
    # A long name is no slip of the pen, and comparing it takes long.
    near = difflib.get_close_matches(name, known, n=1) if len(name) <= MOST_NAME_LETTERS else []
    if near:
        return f"unknown {noun}; did you mean {near[0]}?"
    if known and not tell:
        return f"unknown {noun}"
    if known:
        return f"unknown {noun}; this request takes {', '.join(known)}"
    return f"unknown {noun}; this request takes no {'body' if noun == 'field' else 'query parameters'}"


def _text(item: Field, path: str, value: Any) -> list[Complaint]:
    if not isinstance(value, str):
        return [_wrong(path, "a string", value)]
    if bad := _unstorable(value):
        return [complaint(path, bad)]
    if item.choices and value not in item.choices:
        return [complaint(path, f"must be one of {', '.join(item.choices)}")]
    if not item.shortest <= len(value) <= item.longest:
        return [complaint(path, f"must have {item.shortest} to {item.longest} characters, this has {len(value)}")]
    if item.pattern and not item.pattern.fullmatch(value):
        return [complaint(path, item.hint)]
    return []


def _integer(item: Field, path: str, value: Any) -> list[Complaint]:
    if not is_whole(value):
        return [complaint(path, f"must be a whole number, not {_NAMES[type(value)]}")]
    if not item.least <= value <= item.most:
        return [complaint(path, f"must be from {item.least} to {item.most}")]
    return []


def _integers(item: Field, path: str, value: Any) -> list[Complaint]:
    if not isinstance(value, list):
        return [_wrong(path, "an array of numbers", value)]
    if not item.least <= len(value) <= item.most:
        return [complaint(path, f"must have {item.least} to {item.most} entries, this has {len(value)}")]
    one = Field(item.name, "integer", item.about, least=item.each[0], most=item.each[1])
    wrong = (fault for index, number in enumerate(value) for fault in _integer(one, f"{path}[{index}]", number))
    return list(islice(wrong, MOST_COMPLAINTS + 1))


def _boolean(_item: Field, path: str, value: Any) -> list[Complaint]:
    return [] if isinstance(value, bool) else [_wrong(path, "true or false", value)]


def _texts(item: Field, path: str, value: Any) -> list[Complaint]:
    if not isinstance(value, list):
        return [_wrong(path, "an array of strings", value)]
    if not item.least <= len(value) <= item.most:
        return [complaint(path, f"must have {item.least} to {item.most} entries, this has {len(value)}")]
    wrong = (one for index, text in enumerate(value) for one in _text(item, f"{path}[{index}]", text))
    return list(islice(wrong, MOST_COMPLAINTS + 1))


def _object(_item: Field, path: str, value: Any) -> list[Complaint]:
    if not isinstance(value, dict):
        return [_wrong(path, "an object", value)]
    bad = _unstorable_inside(value)
    return [complaint(path, bad)] if bad else []


def _text_map(item: Field, path: str, value: Any) -> list[Complaint]:
    complaints = _object(item, path, value)
    if complaints:
        return complaints
    wrong = (_wrong(f"{path}.{name}", "a string", text) for name, text in value.items() if not isinstance(text, str))
    return list(islice(wrong, MOST_COMPLAINTS + 1))


def _time(_item: Field, path: str, value: Any) -> list[Complaint]:
    try:
        if not isinstance(value, str):
            return [_wrong(path, "a string", value)]
        read_time(value)
    except ValueError:
        return [complaint(path, TIME_HINT)]
    return []


_CHECKS: dict[str, Callable[[Field, str, Any], list[Complaint]]] = {
    "text": _text,
    "integer": _integer,
    "integers": _integers,
    "boolean": _boolean,
    "texts": _texts,
    "object": _object,
    "text_map": _text_map,
    "time": _time,
}


def _wrong(path: str, wanted: str, value: Any) -> Complaint:
    return complaint(path, f"must be {wanted}, not {_NAMES[type(value)]}")


def _unstorable(text: str) -> str | None:
    """Why PostgreSQL could not keep this text."""
    if "\0" in text:
        return "must not contain a NUL character"
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "contains half of a surrogate pair, which is not a character"
    return None


def _unstorable_inside(value: Any) -> str | None:
    """The same for everything in a JSON value (whose depth is bounded already)."""
    if isinstance(value, str):
        return _unstorable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "contains a number that is too large"
    if isinstance(value, dict):
        return next((bad for pair in value.items() for part in pair if (bad := _unstorable_inside(part))), None)
    if isinstance(value, list):
        return next((bad for part in value if (bad := _unstorable_inside(part))), None)
    return None
