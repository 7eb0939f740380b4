"""Which events an endpoint wants: its event types, its stream kinds, its channels; content and reading are about what
it asks of an event's data.

A pattern is an exact type (`call.started`), a prefix (`call.*`: everything that begins with `call.`) or `*`.
Nothing else is special, so a type that holds a dot, a percent sign or a star is compared as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.core.event import names

EVERYTHING = "*"
BELOW = ".*"


def is_pattern(text: str) -> bool:
    """Whether a text is a type, a prefix such as `call.*`, or `*`."""
    return text == EVERYTHING or names.TYPE.fullmatch(text.removesuffix(BELOW)) is not None


def matches(event_types: Sequence[str] | None, stream_kinds: Sequence[str] | None, *, type: str, kind: str) -> bool:
    """Whether an endpoint with these filters wants an event of `type` on a stream of `kind`.

    None means "every"; an empty list means "none".
    """
    if stream_kinds is not None and kind not in stream_kinds:
        return False
    return event_types is None or any(_matches(pattern, type) for pattern in event_types)


def shares_channel(wanted: Sequence[str] | None, carried: Sequence[str]) -> bool:
    """Whether an event that carries these channels has one that an endpoint wants. None: it takes every event."""
    return wanted is None or not set(wanted).isdisjoint(carried)


def like_patterns(event_types: Sequence[str] | None) -> list[str] | None:
    """The same event types for PostgreSQL's `type LIKE ANY (…)` (backslash is its escape); None stays None."""
    return None if event_types is None else [_like(pattern) for pattern in event_types]


def _matches(pattern: str, type: str) -> bool:
    if pattern == EVERYTHING:
        return True
    return type.startswith(pattern[:-1]) if pattern.endswith(BELOW) else type == pattern


def _like(pattern: str) -> str:
    if pattern == EVERYTHING:
        return "%"
    below = pattern.endswith(BELOW)
    literal = (pattern[:-1] if below else pattern).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return literal + "%" if below else literal
