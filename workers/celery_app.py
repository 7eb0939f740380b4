"""The Celery app. Its messages are wake-ups, which may be lost or come twice: the work to do is rows in PostgreSQL.

So no setting here asks Celery for reliability: tasks are acknowledged before they run, have no results, and are neither
scheduled for later nor repeated. The settings keep outages short instead.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

# Beat would import it lazily, when it takes signals already; its handler needs it, and a SIGTERM in the middle of the
# import then ended in a traceback.
import celery.app.amqp  # noqa: F401
from celery import Celery, bootsteps
from celery.exceptions import SecurityWarning
from celery.schedules import crontab
from celery.signals import (
    celeryd_after_setup,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
    worker_shutting_down,
)
from celery.utils.nodenames import worker_direct
from sqlalchemy import Connection

from app.delivery.wake import QUEUE, Wake, broker_options, broker_url
from app.log_lines import wants_json
from app.settings import Settings, SettingsError
from workers import acknowledging, child, errands, json_log, place
from workers.bulk import BulkRetrying
from workers.consumer import stop_soon
from workers.operations import Operations
from workers.pulse import Pulse
from workers.standby import Standby

# The parent runs as whoever starts it. Celery's warning for root is about pickled messages; ours are JSON.
warnings.simplefilter("ignore", SecurityWarning)


def _settings() -> Settings:
    """The environment's settings; ends the process with a plain message when they make no sense."""
    try:
        return Settings.from_env(os.environ)
    except SettingsError as error:
        sys.exit(str(error))


settings = _settings()

acknowledging.install()
app = Celery("twofold", broker=broker_url(settings.redis_url), include=["workers.tasks"])
app.conf.update(
    accept_content=["json"],
    broker_channel_error_retry=True,  # a Redis that is full refuses commands; by default that ends the worker
    broker_connection_max_retries=None,  # Celery's default gives up after a hundred tries
    broker_connection_retry_on_startup=True,
    broker_transport_options=broker_options(),
    task_acks_late=False,
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_publish_retry=False,  # whoever publishes has committed; the pulse makes up for a lost wake-up
    worker_cancel_long_running_tasks_on_connection_loss=True,  # concerns late acknowledgement only; False warns
    worker_consumer="workers.consumer:Consumer",
    worker_direct=True,  # a queue of its own for each worker, from which its drain at the doorbell is called
    worker_enable_prefetch_count_reduction=False,  # every task is acknowledged early: none is counted twice
    worker_prefetch_multiplier=1,
    # No state on disk: the schedule is by the clock, so a restart neither repeats nor delays it.
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={"housekeeping": {"task": "housekeeping", "schedule": crontab(minute="17")}},
)

_pulse: Pulse | None = None
_operations: Operations | None = None
_worker: Any = None
_bulk: BulkRetrying | None = None
_own_queue = QUEUE


class _PulseStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Starts the pulse after the pool, but before Redis has answered: a worker may be started while Redis is down."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        global _pulse, _operations, _bulk, _worker
        _worker, _bulk = worker, BulkRetrying(settings)
        wake = Wake(settings.redis_url, own_queue=_own_queue)
        _pulse = Pulse(
            settings.database_url,
            wake,
            standby=Standby(settings),
            nobody_stands=place.is_free,
            is_quiet=place.is_quiet,
            errand=_errands,
        )
        _pulse.start()
        _operations = Operations(settings)
        _operations.start()

    def stop(self, _worker: Any) -> None:
        """Nothing yet: the pulse ends after the pool has (_stop_pulse)."""


def _errands(connection: Connection) -> None:
    """What a worker looks after each second. Raises SQLAlchemyError."""
    if errands.run(connection) and _bulk is not None:
        _bulk.begin()


def _stop_pulse(**_: Any) -> None:
    if _operations is not None:
        _operations.stop()
    if _pulse is not None:
        _pulse.stop()
    if _bulk is not None:
        _bulk.stop()


def _know_name(sender: str, **_: Any) -> None:
    """sender: the worker's name, by which its own queue is called. Before any fork."""
    global _own_queue
    _own_queue = worker_direct(sender).name


def _start_child(**_: Any) -> None:
    child.start(settings, _own_queue)


def _close_child(**_: Any) -> None:
    child.close()


def _stop_claiming(**_: Any) -> None:
    child.stop_all()
    if _worker is not None:
        stop_soon(_worker)
    if _pulse is not None:
        _pulse.stop_delivering()


app.steps["worker"].add(_PulseStep)
worker_shutting_down.connect(_stop_claiming)
worker_shutdown.connect(_stop_pulse)
worker_process_init.connect(_start_child)
worker_process_shutdown.connect(_close_child)
celeryd_after_setup.connect(_know_name)
if wants_json(os.environ):
    json_log.install()
