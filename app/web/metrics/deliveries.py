"""How deliveries and consumers of the feed are doing, for /metrics: all of them, whichever web process is asked.

Pending deliveries and consumers are counted in PostgreSQL when somebody asks. The drains add up in Redis what they have
done (app.delivery.live_log).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from app.core import delays
from app.database.connection import Database
from app.delivery import waiting
from app.delivery.live_log import ATTEMPTS, DELIVERED_AFTER, ENDED, SENT_AFTER, UNTOLD, LogReader
from app.live.feed import lag
from app.redis_connection import FAILURES

KEPT_SECONDS = 5.0  # each process asks PostgreSQL and Redis at most this often, however many ask it
COUNTED = 1_000_000  # a longer backlog shows as this many: counting takes a fifth of a second by then


class DeliveryMetrics:
    """A Prometheus collector that keeps its answer for KEPT_SECONDS. clock: monotonic seconds.

    Many requests may ask at once: one collects, the others wait for its answer.
    """

    def __init__(self, database: Database, log: LogReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._log, self._clock = database, log, clock
        self._lock = threading.Lock()
        self._known = b""
        self._known_until = float("-inf")
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def exposition(self) -> bytes:
        """The metrics in Prometheus's text format, without those of a database or Redis that cannot be reached."""
        with self._lock:
            if self._clock() >= self._known_until:
                self._known = generate_latest(self._registry)
                self._known_until = self._clock() + KEPT_SECONDS
            return self._known

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for: one metric after the other."""
        yield from self._backlog()
        yield from self._counts()

    def _backlog(self) -> Iterator[Metric]:
        try:
            with self._database.begin() as connection:
                backlog = waiting.backlog(connection, COUNTED)
                behind = lag.figures(connection)
        except SQLAlchemyError:
            yield _up("twofold_postgresql_up", "PostgreSQL", 0)
            return
        yield _up("twofold_postgresql_up", "PostgreSQL", 1)
        yield GaugeMetricFamily("twofold_deliveries_pending", "Deliveries that have not ended.", backlog.pending)
        yield GaugeMetricFamily(
            "twofold_deliveries_due", "Pending deliveries that a worker could claim now.", backlog.due
        )
        words = "How long the oldest due delivery has been waiting for a worker."
        yield GaugeMetricFamily("twofold_oldest_due_delivery_seconds", words, backlog.oldest_due_seconds or 0.0)
        yield from _consumers(behind)

    def _counts(self) -> Iterator[Metric]:
        try:
            counts, timed = self._log.counts(), self._log.delays()
        except FAILURES:
            yield _up("twofold_redis_up", "Redis", 0)
            return
        yield _up("twofold_redis_up", "Redis", 1)
        yield _by_label("twofold_attempts", "Attempts recorded, by outcome.", "outcome", ATTEMPTS, counts)
        yield _by_label("twofold_deliveries_ended", "Deliveries that an attempt ended.", "status", ENDED, counts)
        words = "Attempts that the live log may not have shown, because Redis did not take them."
        yield CounterMetricFamily("twofold_log_untold", words, counts.get(UNTOLD, 0))
        words = "From an event's commit until the first attempt of its delivery was sent."
        yield _delay("twofold_first_attempt_delay_seconds", words, SENT_AFTER, timed)
        words = "From an event's commit, or a person's retry, until its delivery was answered well; retries included."
        yield _delay("twofold_delivery_delay_seconds", words, DELIVERED_AFTER, timed)


def _consumers(behind: lag.Figures) -> Iterator[Metric]:
    words = "Consumers of the feed, by how long there has been something that they have not read."
    family = GaugeMetricFamily("twofold_feed_consumers", words, labels=["behind"])
    for name, count in behind.counts.items():
        family.add_metric([name], count)
    yield family
    words = "The same of the consumer that is farthest behind."
    yield GaugeMetricFamily("twofold_feed_consumer_behind_seconds", words, behind.most_seconds)


def _up(name: str, engine: str, value: int) -> Metric:
    return GaugeMetricFamily(name, f"1 when {engine} has just answered this server, else 0.", value)


def _delay(name: str, words: str, prefix: str, timed: dict[str, int]) -> Metric:
    counts = {field.removeprefix(prefix): count for field, count in timed.items() if field.startswith(prefix)}
    return HistogramMetricFamily(name, words, delays.cumulative(counts), counts.get(delays.SUM, 0) / 1000)


def _by_label(name: str, words: str, label: str, prefix: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, words, labels=[label])
    for field, count in sorted(counts.items()):
        if field.startswith(prefix):
            family.add_metric([field.removeprefix(prefix)], count)
    return family
