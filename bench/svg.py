"""Line charts as SVG, drawn here: no library, script or date, so that equal figures give equal files. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50  # margins: axis labels, the legend
# Told apart by eyes that see no red or green, and by their marks in print.
COLOURS = ("#0b6e99", "#d9822b", "#5b5b5b", "#8a5aa8", "#2a8c55")
MARKS = ("circle", "square", "diamond", "circle", "square")


@dataclass(frozen=True)
class Series:
    """One line: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(title: str, x_name: str, y_name: str, series: Sequence[Series]) -> str:
    """The chart; both axes are logarithmic when their figures span more than a factor of ten."""
    points = [point for one in series for point in one.points]
    if not points:
        return _page([_text(WIDTH / 2, HEIGHT / 2, f"{title}: not measured", "middle")])
    x_axis = Axis.of([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = Axis.of([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 22, title, "start", bold=True)]
    parts += _axes(x_axis, y_axis, x_name, y_name)
    for number, one in enumerate(series):
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        places = [(x_axis.place(x), y_axis.place(y)) for x, y in sorted(one.points)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [_mark(mark, x, y, colour) for x, y in places]
        y = TOP + 10 + 20 * number
        parts += [_mark(mark, WIDTH - RIGHT + 20, y, colour), _text(WIDTH - RIGHT + 32, y + 4, one.name, "start")]
    return _page(parts)


@dataclass(frozen=True)
class Axis:
    """From figures to places on the page."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float) -> Axis:
        """Wide enough for all values."""
        low, high = min(values), max(values)
        if low > 0 and high / low > 10:
            return cls(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)), start, end, True)
        step = _step(max(high, 1e-9))
        return cls(0.0, step * math.ceil(max(high, 1e-9) / step), start, end, False)

    def place(self, value: float) -> float:
        """Where a value is."""
        if self.is_log:
            share = math.log10(value / self.low) / max(math.log10(self.high / self.low), 1e-9)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Values that are written at it."""
        if self.is_log:
            return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        step = _step(self.high)
        return [step * count for count in range(round(self.high / step) + 1)]


def _step(high: float) -> float:
    power = 10.0 ** math.floor(math.log10(high))
    return next(power * part for part in (0.1, 0.2, 0.25, 0.5, 1.0) if high / (power * part) <= 6 or part == 1.0)


def _axes(x_axis: Axis, y_axis: Axis, x_name: str, y_name: str) -> list[str]:
    parts = []
    for value in x_axis.ticks():
        x = x_axis.place(value)
        parts += [_line(x, TOP, x, HEIGHT - BOTTOM), _text(x, HEIGHT - BOTTOM + 18, f"{value:,g}", "middle")]
    for value in y_axis.ticks():
        y = y_axis.place(value)
        parts += [_line(LEFT, y, WIDTH - RIGHT, y), _text(LEFT - 8, y + 4, f"{value:,g}", "end")]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_name, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 16 {middle:.1f})">{_text(16, middle, y_name, "middle")}</g>')
    return parts


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d8d8d8"/>'


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    turned = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{colour}"{turned}/>'


def _page(parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="12" fill="#222">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>", ""])
