"""Charts, as the coordinates that a template writes into an SVG. Pure: numbers in, shapes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 600.0, 170.0
LEFT, BOTTOM, TOP = 54.0, 22.0, 8.0  # room for the numbers beside and the times below
_GAP = 0.22  # of a slot's width that stays empty beside its bar
_TIMES = 5  # labels below a chart: as many as fit on a phone


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a series."""

    series: str
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series as a path, and its points that stand alone, as (x, y)."""

    series: str
    path: str
    dots: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place. anchor: "start", "middle" or "end"."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything of one chart. grid: the heights of its horizontal lines."""

    bars: Sequence[Bar]
    lines: Sequence[Line]
    labels: Sequence[Label]
    grid: Sequence[float]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT


def stacked(starts: Sequence[datetime], series: Mapping[str, Sequence[int]]) -> Chart:
    """Bars, one for each slot, with the series on top of each other, the first at the bottom."""
    top = nice_top(max((sum(values) for values in zip(*series.values(), strict=True)), default=0))
    slot = (WIDTH - LEFT) / max(len(starts), 1)
    bars = []
    for number, start in enumerate(starts):
        base = HEIGHT - BOTTOM
        for name, values in series.items():
            if values[number]:
                height = values[number] / top * (HEIGHT - BOTTOM - TOP)
                base -= height
                words = f"{_clock(start)}: {values[number]:,} {name.replace('_', ' ')}"
                x = LEFT + slot * (number + _GAP / 2)
                bars.append(Bar(name, _round(x), _round(base), _round(slot * (1 - _GAP)), _round(height), words))
    return Chart(bars, [], [*_beside(top, "{:,}".format), *_below(starts)], _grid())


def lines(starts: Sequence[datetime], series: Mapping[str, Sequence[int | None]], words: Callable[[int], str]) -> Chart:
    """A line for each series; slots without a value interrupt it. words: a value as it stands beside the chart."""
    top = nice_top(max((value or 0 for values in series.values() for value in values), default=0))
    made = [_line(name, values, top) for name, values in series.items()]
    return Chart([], made, [*_beside(top, words), *_below(starts)], _grid())


def duration(milliseconds: int) -> str:
    """A duration in few letters: there is little room beside a chart, least on a phone."""
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"


def nice_top(most: int) -> int:
    """The least of 2, 4, 10, 20, 40, 100, … that is not below `most`: its half is a whole number, too."""
    scale = 1
    while True:
        for step in (2, 4, 10):
            if step * scale >= most:
                return step * scale
        scale *= 10


def _line(name: str, values: Sequence[int | None], top: int) -> Line:
    slot = (WIDTH - LEFT) / max(len(values), 1)
    parts: list[list[tuple[float, float]]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            parts.append([])
        else:
            y = HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)
            parts[-1].append((_round(LEFT + slot * (number + 0.5)), _round(y)))
    path = " ".join("M" + " L".join(f"{x} {y}" for x, y in part) for part in parts if len(part) > 1)
    return Line(name, path, [part[0] for part in parts if len(part) == 1])


def _beside(top: int, words: Callable[[int], str]) -> list[Label]:
    return [Label(LEFT - 6, y + 4, words(value), "end") for value, y in zip((top, top // 2), _grid(), strict=False)]


def _below(starts: Sequence[datetime]) -> list[Label]:
    slot = (WIDTH - LEFT) / max(len(starts), 1)
    step = max(len(starts) // (_TIMES - 1), 1)
    return [
        Label(_round(LEFT + slot * (number + 0.5)), HEIGHT - 4, _clock(starts[number]), "middle" if number else "start")
        for number in range(0, len(starts), step)
    ]


def _grid() -> list[float]:
    middle = TOP + (HEIGHT - BOTTOM - TOP) / 2
    return [TOP, middle, HEIGHT - BOTTOM]


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M}"


def _round(number: float) -> float:
    return round(number, 1)
