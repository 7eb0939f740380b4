"""The operator's colour as a style sheet: made darker or lighter until it can be read, in light and in dark.

Pure. Contrast is that of WCAG 2.2 (section 1.4.3): 4.5 to 1 for text of ordinary size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ENOUGH = 4.5
_STEP = 0.04  # by which a colour moves towards black or white at once; 25 steps reach it
_TINT = 0.12  # of the accent in the ground that marks what is chosen
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
# The grounds that links and buttons stand on, of console.css: (page, card).
LIGHT, DARK = ((246, 247, 246), (255, 255, 255)), ((17, 21, 19), (25, 30, 28))

Colour = tuple[int, int, int]


def theme(accent: str) -> str:
    """The style sheet for an accent, given as #rrggbb. Raises ValueError for anything else."""
    chosen = read(accent)
    light, dark = _rules(chosen, LIGHT, BLACK), _rules(chosen, DARK, WHITE)
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def read(text: str) -> Colour:
    """A colour from #rrggbb. Raises ValueError for anything else."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise ValueError(f"not a colour: {text!r}")
    number = int(text[1:], 16)
    return number >> 16, number >> 8 & 255, number & 255


def contrast(one: Colour, other: Colour) -> float:
    """From 1 (the same) to 21 (black on white)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def legible(accent: Colour, grounds: Sequence[Colour], towards: Colour) -> tuple[Colour, Colour]:
    """The accent, moved towards a colour until it is legible on each ground and on its own tint of the last one; and
    that tint."""
    for step in range(round(1 / _STEP) + 1):
        moved = _mix(accent, towards, step * _STEP)
        tint = _mix(grounds[-1], moved, _TINT)
        if all(contrast(moved, ground) >= ENOUGH for ground in (*grounds, tint)):
            return moved, tint
    return towards, grounds[-1]


def _rules(accent: Colour, grounds: Sequence[Colour], towards: Colour) -> str:
    moved, tint = legible(accent, grounds, towards)
    on_accent = max((BLACK, WHITE), key=lambda one: contrast(one, moved))
    return f"--accent: {_hex(moved)}; --accent-ground: {_hex(tint)}; --on-accent: {_hex(on_accent)};"


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
