"""Installed client packages, and a server for them that may be restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.local.embedded import EmbeddedRedis
from tests.clients.live.programs import Programs, install
from tests.conftest import _servers
from tests.contracts.producer import Producer

TOKEN_SECONDS = 5  # of a stream token: the shortest that the setting takes


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def producer(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Producer]:
    """On a server whose processes may be killed and replaced, and whose tokens live a few seconds."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield Producer(next(servers)(STREAM_TOKEN_SECONDS=str(TOKEN_SECONDS), WEB_CONCURRENCY="2"))
    next(servers, None)
