"""How deliveries are doing, for /metrics: of all workers on all machines, whichever web process is asked.

What waits is counted in PostgreSQL when somebody looks; what the drains have done they add up in Redis
(app.delivery.live_log).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.database.connection import Database
from app.delivery.live_log import ATTEMPTS, ENDED, UNTOLD, LogReader
from app.redis_connection import FAILURES

KEPT_SECONDS = 5.0  # however many look, each process asks so often at most
COUNTED = 1_000_000  # a longer backlog shows as this many: counting takes a fifth of a second by then

_WAITING = text(f"""
SELECT
  (SELECT count(*) FROM (SELECT FROM deliveries WHERE status = 'pending' LIMIT {COUNTED}) AS p) AS pending,
  (SELECT count(*) FROM (SELECT FROM deliveries WHERE status = 'pending' AND due_at <= now() LIMIT {COUNTED}) AS d)
    AS due,
  (SELECT extract(epoch FROM now() - min(due_at))::float FROM deliveries WHERE status = 'pending' AND due_at <= now())
    AS late
""")


class DeliveryFigures:
    """A Prometheus collector that remembers its answer for a moment. clock: monotonic seconds."""

    def __init__(self, database: Database, log: LogReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._log, self._clock = database, log, clock
        self._lock = threading.Lock()
        self._known = b""
        self._known_until = float("-inf")
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def exposition(self) -> bytes:
        """The figures in Prometheus's text format; those of an engine that is away are left out."""
        with self._lock:
            if self._clock() >= self._known_until:
                self._known = generate_latest(self._registry)
                self._known_until = self._clock() + KEPT_SECONDS
            return self._known

    def collect(self) -> Iterator[Metric]:
        """Ask PostgreSQL and Redis."""
        try:
            with self._database.begin() as connection:
                row = connection.execute(_WAITING).one()
        except SQLAlchemyError:
            row = None
        if row is not None:
            yield GaugeMetricFamily("twofold_deliveries_pending", "Deliveries that have not ended.", row.pending)
            yield GaugeMetricFamily("twofold_deliveries_due", "Of them, those that a worker could take now.", row.due)
            words = "How long the oldest due delivery has been waiting for a worker."
            yield GaugeMetricFamily("twofold_oldest_due_delivery_seconds", words, row.late or 0.0)
        try:
            counts = self._log.counts()
        except FAILURES:
            return
        yield _by_label("twofold_attempts", "Attempts recorded, by outcome.", "outcome", ATTEMPTS, counts)
        yield _by_label("twofold_deliveries_ended", "Deliveries that an attempt ended.", "status", ENDED, counts)
        words = "Attempts that the live log may not have shown, because Redis did not take them."
        yield CounterMetricFamily("twofold_log_untold", words, counts.get(UNTOLD, 0))


def _by_label(name: str, words: str, label: str, prefix: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, words, labels=[label])
    for field, count in sorted(counts.items()):
        if field.startswith(prefix):
            family.add_metric([field.removeprefix(prefix)], count)
    return family
