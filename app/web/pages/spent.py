"""Where an attempt's time went, as a bar in parts with a word and a figure for each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WIDTH = 100.0  # of the whole bar, in its own units
LEAST_WIDTH = 1.0  # of a part that took any time, so that it can be seen

_WORDS = (
    ("dns", "Name look-up"),
    ("connect", "Connect"),
    ("tls", "TLS"),
    ("first_byte", "Wait for first byte"),
    ("rest", "Rest"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the time. name: of its colour. x and width: of its place in the bar."""

    name: str
    words: str
    milliseconds: int
    x: float
    width: float


def parts_of(timing: Mapping[str, int | None]) -> list[Part]:
    """The parts that there were, first to last. timing: `timing_ms` of the API.

    Each figure is rounded for itself, so that together they may be a little more than the total.
    """
    known = {name: timing[name] for name in ("dns", "connect", "tls", "first_byte")}
    left = (timing["total"] or 0) - sum(value or 0 for value in known.values())
    figures = known | {"rest": left if left > 0 else None}
    shown = [(name, words, value) for name, words in _WORDS if (value := figures[name]) is not None]
    whole = sum(value for _, _, value in shown)
    widths = [max(WIDTH * value / whole, LEAST_WIDTH) if value else 0.0 for _, _, value in shown]
    by = WIDTH / sum(widths) if whole else 0.0  # what was made wide enough to be seen takes its room from the others
    parts, x = [], 0.0
    for (name, words, value), width in zip(shown, widths, strict=True):
        parts.append(Part(name, words, value, round(x, 2), round(width * by, 2)))
        x += width * by
    return parts
