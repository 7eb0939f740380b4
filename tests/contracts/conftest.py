"""Running products for the contract tests: one with the real clock, one whose clock the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from app.embedded import EmbeddedRedis
from tests.conftest import _servers
from tests.contracts.clocked import Clock
from tests.contracts.producer import Producer
from tests.processes import RunningServer


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
