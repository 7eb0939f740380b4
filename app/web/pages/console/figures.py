"""The overview's figures, asked from PostgreSQL every few seconds at most, however many people look at them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

from app.core.problem import first_line
from app.database.batching import Abandoned
from app.database.connection import Database
from app.database.partitions import database_time
from app.delivery import lane_reads, overview, waiting
from app.delivery.overview import Slot, Span
from app.delivery.waiting import Backlog

log = logging.getLogger(__name__)

KEPT_SECONDS = 5.0
RATE_SECONDS = 60
# name -> (slots, seconds of a slot). A day is the time in which a delivery is given up.
SPANS = {"1h": (60, 60), "6h": (72, 300), "24h": (48, 1800)}
_BAD_SPAN = timedelta(hours=48)  # of the customers' list: what failed yesterday belongs to it
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the overview shows; None for what could not be counted in time.

    failing: rows, and how many endpoints in use fail. rate: events accepted in the last RATE_SECONDS. stopped: lanes
    that stand still.
    """

    now: datetime
    span: Span
    backlog: Backlog | None
    failing: tuple[Sequence[Row[Any]], int] | None
    waiting: dict[str, int]
    attempts: list[Slot] | None
    durations: tuple[int | None, int | None] | None
    events: list[int] | None
    rate: int | None
    bad: Sequence[Row[Any]] | None
    stopped: int | None


class KeptFigures:
    """Figures for each span, KEPT_SECONDS old at most. Many may ask at once: one counts, the others wait for it."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._locks = {name: threading.Lock() for name in SPANS}
        self._known: dict[str, tuple[float, Figures]] = {}

    def of(self, span: str) -> Figures:
        """The figures of a span of SPANS."""
        with self._locks[span]:
            until, figures = self._known.get(span, (float("-inf"), None))
            if figures is None or self._clock() >= until:
                figures = self._count(span)
                self._known[span] = (self._clock() + KEPT_SECONDS, figures)
            return figures

    def _count(self, name: str) -> Figures:
        with self._database.begin() as connection:
            now = database_time(connection)
        span = Span.until(now, *SPANS[name])
        failing = self._ask(overview.failing_endpoints)
        a_minute_ago = now - timedelta(seconds=RATE_SECONDS)
        ids = [] if failing is None else [row.id for row in failing[0]]
        return Figures(
            now=now,
            span=span,
            backlog=self._ask(waiting.backlog),
            failing=failing,
            waiting=self._ask(lambda connection: waiting.waiting_for(connection, ids)) or {},
            attempts=self._ask(lambda connection: overview.attempts_over_time(connection, span)),
            durations=self._ask(lambda connection: overview.durations(connection, span)),
            events=self._ask(lambda connection: overview.events_over_time(connection, span)),
            rate=self._ask(lambda connection: overview.accepted_since(connection, a_minute_ago)),
            bad=self._ask(lambda connection: overview.ended_badly(connection, now - _BAD_SPAN)),
            stopped=self._ask(lane_reads.count_stopped),
        )

    def _ask(self, question: Callable[[Connection], T]) -> T | None:
        """One question in a transaction of its own, so that one that takes too long costs no other its answer."""
        try:
            with self._database.begin() as connection:
                return question(connection)
        except (SQLAlchemyError, Abandoned) as error:
            log.warning("the overview goes without a figure: %s", first_line(error))
            return None
