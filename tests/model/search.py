"""Breadth-first search through all states of a model: every path, and for a broken promise the shortest one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S")


class Step(NamedTuple, Generic[S]):
    """One thing that can happen. is_ordinary: it needs neither a fault nor a person. broken: the promise that it
    breaks, if it does."""

    text: str
    after: S
    is_ordinary: bool = True
    broken: str | None = None


class Model(NamedTuple, Generic[S]):
    """What to search. key: equal for states that behave alike. waits: what has still to end in a state, so that it
    must not be the last one; None when all has ended. ends: whether it must come to an end, whatever happens."""

    initial: S
    steps: Callable[[S], Iterable[Step[S]]]
    key: Callable[[S], Hashable]
    waits: Callable[[S], str | None]
    ends: bool = True


class Found(NamedTuple):
    """A search's result. broken: the promise that was broken, on the path `trace` from the first state."""

    states: int
    transitions: int
    broken: str | None = None
    trace: tuple[str, ...] = ()


class TooManyStates(AssertionError):
    """The model has more states than was allowed, so nothing is known."""


def search(model: Model[S], *, most_states: int = 1_000_000) -> Found:
    """Go through all states, nearest first, until a promise is broken.

    Besides what steps say, two things are broken promises, for then something never ends: a state that waits for
    something and has no ordinary step, and a circle of states in a model that must end. Raises TooManyStates.
    """
    states: list[S] = [model.initial]
    came: list[tuple[int, str]] = [(-1, "")]
    known: dict[Hashable, int] = {model.key(model.initial): 0}
    arrows: list[list[int]] = []
    transitions, queue = 0, deque([0])
    while queue:
        at = queue.popleft()
        nexts: list[int] = []
        goes_on = (waiting := model.waits(states[at])) is None
        for step in model.steps(states[at]):
            transitions += 1
            if step.broken:
                return Found(len(states), transitions, step.broken, (*_trace(came, at), step.text))
            goes_on |= step.is_ordinary
            key = model.key(step.after)
            if key not in known:
                known[key] = len(states)
                states.append(step.after)
                came.append((at, step.text))
                queue.append(known[key])
            nexts.append(known[key])
        if not goes_on:
            return Found(len(states), transitions, f"{waiting}, and nothing more happens", _trace(came, at))
        arrows.append(nexts)
        if len(states) > most_states:
            raise TooManyStates(f"more than {most_states} states")
    if model.ends and (circle := _on_a_circle(arrows)) is not None:
        return Found(len(states), transitions, "it goes round in a circle and never ends", _trace(came, circle))
    return Found(len(states), transitions)


def _trace(came: list[tuple[int, str]], at: int) -> tuple[str, ...]:
    texts: list[str] = []
    while at:
        at, text = came[at]
        texts.append(text)
    return tuple(reversed(texts))


def _on_a_circle(arrows: list[list[int]]) -> int | None:
    """A state that can be reached from itself, None if there is none (Kahn's algorithm, from the last states on)."""
    left = [len(set(nexts)) for nexts in arrows]
    earlier: list[list[int]] = [[] for _ in arrows]
    for at, nexts in enumerate(arrows):
        for found in set(nexts):
            earlier[found].append(at)
    ended = [at for at, count in enumerate(left) if not count]
    for at in ended:
        for before in earlier[at]:
            left[before] -= 1
            if not left[before]:
                ended.append(before)
    at = next((at for at, count in enumerate(left) if count), -1)
    passed: set[int] = set()
    while at >= 0 and at not in passed:  # what is left leads to a circle, and only to what is left
        passed.add(at)
        at = next(found for found in arrows[at] if left[found])
    return at if at >= 0 else None
