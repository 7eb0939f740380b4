"""Running products for the contract tests: one with the real clock, one whose clock the test moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from app.local.embedded import EmbeddedRedis
from tests.conftest import _servers
from tests.contracts.clocked import Clock
from tests.contracts.producer import Producer
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.processes import RunningServer, eventually


@dataclass(frozen=True)
class Clocked:
    """A running server, a producer on it, and the hand on its clock."""

    server: RunningServer
    producer: Producer
    clock: Clock


@pytest.fixture
def producer(server: RunningServer) -> Producer:
    """On the shared server with the real clock."""
    return Producer(server)


@dataclass(frozen=True)
class Delivering:
    """A producer on a product with a worker, and a receiver that is registered for everything of its workspace."""

    producer: Producer
    receiver: ScriptedServer

    def delivered(self, stream_id: str, count: int) -> list[Seen]:
        """What the receiver was sent of one stream, once there are so many."""

        def found() -> list[Seen]:
            ours = [seen for seen in list(self.receiver.seen) if json.loads(seen.body)["stream"]["id"] == stream_id]
            return ours if len(ours) >= count else []

        return eventually(found, 20, about=f"{count} deliveries of {stream_id}")


@pytest.fixture
def delivering(product: RunningServer) -> Iterator[Delivering]:
    """Web, worker and a webhook receiver that takes everything."""
    producer = Producer(product)
    with ScriptedServer(answering(OK)) as receiver:
        made = producer.ask("POST", "/v1/endpoints", {"url": receiver.url}, 201)
        yield Delivering(producer, receiver)
        producer.ask("DELETE", f"/v1/endpoints/{made['id']}")


@pytest.fixture(scope="session")
def clocked(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clocked]:
    """A server whose clock stands still: heartbeats come, and tokens expire, when a test lets time pass."""
    file = tmp_path_factory.mktemp("clock") / "now"
    clock = Clock(file)
    servers = _servers(new_database, redis_server, tmp_path_factory)
    running = next(servers)(factory="tests.contracts.clocked:create_app()", TEST_CLOCK_FILE=str(file))
    yield Clocked(running, Producer(running), clock)
    next(servers, None)
