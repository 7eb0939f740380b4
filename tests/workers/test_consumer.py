"""What Celery's consumer does on its own account."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery
from kombu.asynchronous.timer import Timer

from workers.consumer import Consumer


@pytest.mark.parametrize("asked", [{}, {"without_heartbeat": False}], ids=["nothing said", "asked for"])
def test_it_sends_no_heartbeats(asked: dict[str, bool]) -> None:
    consumer = Consumer(
        lambda request: None,
        app=Celery("test", broker="memory://"),
        timer=Timer(),
        controller=SimpleNamespace(use_eventloop=True),
        worker_options=asked,
    )
    names = [step.name.rpartition(".")[2] for step in consumer.steps]
    assert "Connection" in names
    assert "Heart" not in names
