"""Which events a reader of the feed wants: by stream, kind of stream, type and content. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.event import filters, names
from app.core.event.filters.content import ContentFilter
from app.core.event.filters.reading import FIELD, MOST_BYTES, read_filter
from app.core.problem import Problem
from app.core.wire.envelope import data_of
from app.core.wire.json_text import read_json, value_of

MOST_STREAMS = 500
MOST_KINDS = 20
MOST_TYPES = 100  # as of an endpoint's filter: matching is linear in them
_DEPTH = 20  # of a content filter: its levels and a list of values, and some to spare


@dataclass(frozen=True, slots=True)
class Wanted:
    """None: all. An event is wanted that all of them want."""

    streams: frozenset[tuple[str, str]] | None = None
    kinds: frozenset[str] | None = None
    types: tuple[str, ...] | None = None
    content: ContentFilter | None = None

    def wants(self, type: str, kind: str, external_id: str, body: bytes) -> bool:
        """Whether an event of this type, of this stream, is wanted. body: its envelope, read only for its content."""
        if not self.opens(kind, external_id) or not filters.matches(self.types, None, type=type, kind=kind):
            return False
        return self.content is None or self.content.holds(value_of(data_of(body)))

    def opens(self, kind: str, external_id: str) -> bool:
        """Whether events of this stream may be wanted."""
        if self.streams is not None and (kind, external_id) not in self.streams:
            return False
        return self.kinds is None or kind in self.kinds

    def within(self, allowed: Wanted) -> Wanted:
        """What is wanted of the streams and kinds that are allowed. Raises ValueError with the first that is named and
        is not: whoever waited for it would wait for ever."""
        for kind, external_id in sorted(self.streams or ()):
            if not allowed.opens(kind, external_id):
                raise ValueError(f"{kind}:{external_id}")
        of_streams = None if allowed.streams is None else {kind for kind, _ in allowed.streams}
        for kind in sorted(self.kinds or ()):
            if any(known is not None and kind not in known for known in (allowed.kinds, of_streams)):
                raise ValueError(kind)
        streams = allowed.streams if self.streams is None else self.streams
        return Wanted(streams, allowed.kinds if self.kinds is None else self.kinds, self.types, self.content)


def read_wanted(given: Mapping[str, Any]) -> Wanted:
    """What `streams`, `kinds` and `types` (lists, or texts with commas) and `content_filter` (an object, or its text)
    ask for.

    Raises ValueError(parameter, what is wrong with it).
    """
    streams = _list(given, "streams", MOST_STREAMS)
    kinds = _list(given, "kinds", MOST_KINDS)
    types = _list(given, "types", MOST_TYPES)
    for kind in kinds or ():
        if not names.KIND.fullmatch(kind):
            raise ValueError("kinds", f"{kind!r} is no kind of stream, such as call")
    for pattern in types or ():
        if not filters.is_pattern(pattern):
            raise ValueError("types", f"{pattern!r} is neither a type, nor a prefix such as call.*, nor *")
    return Wanted(
        None if streams is None else frozenset(_stream(text) for text in streams),
        None if kinds is None else frozenset(kinds),
        None if types is None else tuple(types),
        _content(given.get(FIELD)),
    )


def stream_names(streams: frozenset[tuple[str, str]]) -> list[str]:
    """Streams as they are named: kind, colon, id."""
    return sorted(f"{kind}:{external_id}" for kind, external_id in streams)


def _stream(text: str) -> tuple[str, str]:
    kind, colon, external_id = text.partition(":")
    if not (colon and names.KIND.fullmatch(kind) and names.EXTERNAL_ID.fullmatch(external_id)):
        raise ValueError("streams", f"{text!r} is not the kind and the id of a stream, such as call:call_1")
    return kind, external_id


def _list(given: Mapping[str, Any], name: str, most: int) -> Sequence[str] | None:
    value = given.get(name)
    if value is None:
        return None
    parts = {part.strip() for part in (value.split(",") if isinstance(value, str) else value)} - {""}
    if not parts:
        raise ValueError(name, "is empty; leave it out for all")
    if len(parts) > most:
        raise ValueError(name, f"names {len(parts)}, and at most {most} are allowed")
    return sorted(parts)


def _content(value: Any) -> ContentFilter | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = _parsed(value)
    return read_filter(value)


def _parsed(text: str) -> Any:
    if len(text) > MOST_BYTES:
        raise ValueError(FIELD, f"must have at most {MOST_BYTES} characters as JSON, this has {len(text)}")
    try:
        return read_json(text.encode("utf-8", "surrogatepass"), _DEPTH)[1]
    except Problem:
        raise ValueError(FIELD, 'must be a filter as JSON, such as {"path": "/amount", "gte": 100}') from None
