"""What a subscriber asks for, in the query and in Last-Event-ID. A route reads only the options that it declares."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flask import request

from app.core.contract.model import ContractRoute
from app.core.event.filters import is_pattern
from app.core.problem import Problem

SPEEDS = (0.01, 1000.0)
MOST_TYPES = 100  # as of an endpoint's filter: matching is linear in them, for every event
_CURSOR = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for.

    types: patterns, None for all. cursor: the seq up to which the client has seen everything, None for none; epoch: in
    which history of the log, None where that is not said. speed: how many times faster than it happened an ended stream
    is to be replayed, None for at once.
    """

    types: tuple[str, ...] | None
    cursor: int | None
    speed: float | None
    epoch: int | None = None


def read_query(route: ContractRoute, *, ended: bool) -> Query:
    """Read the request. ended: whether the stream has ended. Raises Problem invalid, bad_request, conflict."""
    types = _types(route)
    cursor, epoch = _cursor(route)
    return Query(types, cursor, _speed(route, ended), epoch)


def _types(route: ContractRoute) -> tuple[str, ...] | None:
    given = ",".join(request.args.getlist("types")) if "types" in route.options else ""
    if not given:
        return None
    patterns = tuple(sorted({part.strip() for part in given.split(",") if part.strip()})) or ("*",)
    if len(patterns) > MOST_TYPES:
        raise Problem("invalid", f"types: give at most {MOST_TYPES}; these are {len(patterns)}.")
    for pattern in patterns:
        if not is_pattern(pattern):
            raise Problem("invalid", f"types: {pattern!r} is neither a type, nor a prefix such as call.*, nor *.")
    return patterns


def _cursor(route: ContractRoute) -> tuple[int | None, int | None]:
    """The seq and the epoch. The header wins: an EventSource that reconnects repeats its first URL.

    An `id:` without an epoch is of the first history. A seq that was read elsewhere may be of any.
    """
    if route.replay == "none":
        return None, None
    name, given = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if not given and "after_seq" in route.options:
        name, given = "after_seq", request.args.get("after_seq")
    if not given:
        return None, None
    match = _CURSOR.fullmatch(given)
    if not match or (match[2] and not route.frame.epoch):
        raise Problem("bad_request", f"{name} is not the number of an event; leave it out to start anew.")
    said = route.frame.epoch and (match[2] or name == "Last-Event-ID")
    return int(match[1]), int(match[2] or 0) if said else None


def _speed(route: ContractRoute, ended: bool) -> float | None:
    given = request.args.get("speed") if "speed" in route.options else None
    if not given:
        return None
    try:
        speed = float(given)
    except ValueError:
        speed = 0.0
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise Problem("invalid", f"speed: give a factor from {SPEEDS[0]} to {SPEEDS[1]:.0f}, such as 1 or 2.5.")
    if not ended:
        raise Problem("conflict", "Only an ended stream can be replayed at its own pace; leave speed out.")
    return speed
