"""The tasks. What they do is done elsewhere; they carry no arguments, because the database knows."""

from __future__ import annotations

from app.database import retention
from app.delivery.wake import TASK
from workers import child
from workers.celery_app import app, settings


@app.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery has no types
def deliver() -> None:
    """Send what is due."""
    child.run()


@app.task(name="housekeeping")  # type: ignore[untyped-decorator]
def housekeeping() -> None:
    """Make room: partitions and rows that are past their time."""
    retention.keep_house(settings)
