"""A browser for the tests of `make test-browser`, and servers for its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.local.embedded import EmbeddedRedis
from tests.browser.chromium import Chromium
from tests.conftest import _servers
from tests.contracts.producer import Producer
from tests.processes import ROOT, RunningServer

PICTURES = ROOT / "var" / "browser"  # what the pages looked like, to be looked at; never committed
SHORT_LIFE_SECONDS = 5  # of a token: the shortest that the setting takes


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    found = Chromium(tmp_path_factory.mktemp("chromium") / "profile")
    yield found
    found.close()


@pytest.fixture
def chromium(_browser: Chromium) -> Iterator[Chromium]:
    """A browser without an open page."""
    yield _browser
    _browser.close_pages()


@pytest.fixture
def producer(server: RunningServer) -> Producer:
    """On the shared server."""
    return Producer(server)


@pytest.fixture(scope="session")
def restarting(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Producer]:
    """On a server of which `cut` may replace the web process at any time."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield Producer(next(servers)())
    next(servers, None)


@pytest.fixture(scope="session")
def forgetting(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Producer]:
    """On a server whose stream tokens live a few seconds."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield Producer(next(servers)(STREAM_TOKEN_SECONDS=str(SHORT_LIFE_SECONDS)))
    next(servers, None)


@pytest.fixture
def pictures() -> Path:
    """Where screenshots go."""
    return PICTURES
