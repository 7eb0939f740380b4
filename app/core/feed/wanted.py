"""Which events a reader of the feed wants: by stream, kind of stream and type. Lists are separated by commas, which
none of these names can contain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.core.event import filters, names

MOST_STREAMS = 500
MOST_KINDS = 20
MOST_TYPES = 100  # as of an endpoint's filter: matching is linear in them


@dataclass(frozen=True, slots=True)
class Wanted:
    """None: all. An event is wanted that all three want."""

    streams: frozenset[tuple[str, str]] | None = None
    kinds: frozenset[str] | None = None
    types: tuple[str, ...] | None = None

    def wants(self, type: str, kind: str, external_id: str) -> bool:
        """Whether an event of this type, of this stream, is wanted."""
        if self.streams is not None and (kind, external_id) not in self.streams:
            return False
        if self.kinds is not None and kind not in self.kinds:
            return False
        return filters.matches(self.types, None, type=type, kind=kind)


def read_wanted(given: Mapping[str, str]) -> Wanted:
    """What the parameters `streams`, `kinds` and `types` ask for.

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
        None if types is None else tuple(sorted(types)),
    )


def _stream(text: str) -> tuple[str, str]:
    kind, colon, external_id = text.partition(":")
    if not (colon and names.KIND.fullmatch(kind) and names.EXTERNAL_ID.fullmatch(external_id)):
        raise ValueError("streams", f"{text!r} is not the kind and the id of a stream, such as call:call_1")
    return kind, external_id


def _list(given: Mapping[str, str], name: str, most: int) -> Iterable[str] | None:
    if name not in given:
        return None
    parts = {part.strip() for part in given[name].split(",")} - {""}
    if not parts:
        raise ValueError(name, "is empty; leave it out for all")
    if len(parts) > most:
        raise ValueError(name, f"names {len(parts)}, and may name {most}")
    return sorted(parts)
