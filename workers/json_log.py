"""With LOG_FORMAT=json, what Celery says comes as JSON, too: its log, Python's warnings, and its words at the end."""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import celery.apps.worker
from celery.signals import after_setup_logger, after_setup_task_logger

from app.core.log_line import as_json
from app.core.wire.envelope import rfc3339
from app.log_lines import JsonLines


def install() -> None:
    """Have this process, and what it forks, write so."""
    after_setup_logger.connect(_set_up)
    after_setup_task_logger.connect(_set_up)
    celery.apps.worker.safe_say = _say


def _set_up(logger: logging.Logger, **_: Any) -> None:
    for handler in logger.handlers:
        handler.setFormatter(JsonLines())
    logging.captureWarnings(True)


def _say(message: str, file: Any = sys.__stderr__) -> None:
    """What a signal's handler says. It may have interrupted a line of the log, so it must not wait for that lock."""
    now = rfc3339(datetime.fromtimestamp(time.time(), UTC))
    line = as_json(now, "warning", celery.apps.worker.__name__, os.getpid(), message.strip(), {})
    os.write(file.fileno(), f"{line}\n".encode())
