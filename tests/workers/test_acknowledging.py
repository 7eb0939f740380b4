"""An acknowledgement that Redis does not take costs the consumer no place for messages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from app.delivery.wake import FAILURES, QUEUE, Wake, broker_options, broker_url
from app.local.embedded.redis import EmbeddedRedis
from tests.processes import eventually
from workers import acknowledging

PLACES = 2


@pytest.fixture
def engine(engine_directory: Path) -> Iterator[EmbeddedRedis]:
    """A Redis that may be stopped and started."""
    server = EmbeddedRedis(engine_directory / "acknowledging")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("answer", ["ack", "reject"])
def test_places_are_free_again_after_every_acknowledgement_was_lost(engine: EmbeddedRedis, answer: str) -> None:
    acknowledging.install()
    with Connection(broker_url(engine.url), transport_options=broker_options()) as connection:
        channel: Any = connection.channel()
        channel.basic_qos(0, PLACES, False)
        take = partial(channel.basic_get, QUEUE)
        for _ in range(PLACES):
            ring(engine)
        messages = [eventually(take) for _ in range(PLACES)]
        assert not channel.qos.can_consume()
        engine.stop()
        for message in messages:
            with pytest.raises(FAILURES):
                getattr(message, answer)()
        engine.start()
        assert channel.qos.can_consume()
        ring(engine)
        assert eventually(take, about="one more message")


def test_a_channel_that_holds_messages_can_be_closed_when_its_connection_is_gone(engine: EmbeddedRedis) -> None:
    """Celery drops a lost connection and closes its channel after that. kombu wants to give the messages back first,
    and its AttributeError is the end of the worker."""
    acknowledging.install()
    with Connection(broker_url(engine.url), transport_options=broker_options()) as connection:
        channel: Any = connection.channel()
        ring(engine)
        assert eventually(partial(channel.basic_get, QUEUE))
        connection.transport.client = None  # as `collect` leaves it when closing the channel has failed
        channel.close()


def ring(engine: EmbeddedRedis) -> None:
    wake = Wake(engine.url)
    assert wake.answered()  # or else the last ring's key suppresses this one
    assert wake.call()
    wake.close()
