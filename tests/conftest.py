"""Real engines and real processes for the tests.

Each test runner (a pytest-xdist worker, or the one process) has a PostgreSQL and a Redis of its own for its session. A
`database_url` is a fresh, migrated database, copied from a template.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import psycopg
import pytest
import redis

from app.database.connection import Database
from app.local.embedded import EmbeddedPostgres, EmbeddedRedis
from app.local.keys import make_keys
from app.settings import Settings
from tests.processes import FACTORY, RunningServer, environment, free_port, start_web, start_worker

if TYPE_CHECKING:
    from tests.prepared import Prepare

pytest_plugins = [
    "tests.contracts.conformance",
    "tests.database.black_hole",
    "tests.database.turns",
    "tests.delivery.world",
    "tests.order",
    "tests.prepared",
]

# A busy machine makes any example slow. What is to be quick has a test that says how quick.
hypothesis.settings.register_profile("twofold", deadline=None)
hypothesis.settings.load_profile("twofold")

SECRET_KEY = "0123456789abcdef" * 4
LOG_TAIL_BYTES = 8000
REDIS_FOR_TESTS = 0  # this database number is emptied for each test that asks for `redis_url`
# Servers take the others in turn. One that comes round again may find old wake-ups and announcements, which are hints.
REDIS_FOR_SERVERS = itertools.cycle(range(1, 16))

StartServer = Callable[..., RunningServer]


@pytest.fixture(scope="session")
def postgres(engine_directory: Path, prepare: Prepare) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL that is lost with the session."""
    prepare(engine_directory / "postgres")
    engine = EmbeddedPostgres(engine_directory / "postgres", durable=False)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def redis_server(engine_directory: Path) -> Iterator[EmbeddedRedis]:
    """A running Redis that is lost with the session."""
    engine = EmbeddedRedis(engine_directory / "redis")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def new_database(postgres: EmbeddedPostgres) -> Callable[[], str]:
    """A function that returns the URL of a fresh, migrated database."""
    numbers = itertools.count(1)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_of_tests TEMPLATE twofold STRATEGY FILE_COPY")

    def make() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            # FILE_COPY: no log of it, which the tests' PostgreSQL would not replay anyway.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template_of_tests STRATEGY FILE_COPY")
        return _database_of(postgres.url, name)

    return make


@pytest.fixture
def database_url(new_database: Callable[[], str], postgres: EmbeddedPostgres) -> Iterator[str]:
    """A fresh, migrated database for this test."""
    url = new_database()
    yield url
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Connections to `database_url`."""
    found = Database(database_url)
    yield found
    found.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis that nobody else uses: a test may empty, freeze and stop it, and count what it does."""
    engine = EmbeddedRedis(tmp_path / "own-redis")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """An empty Redis database."""
    url = _redis_of(redis_server.url, REDIS_FOR_TESTS)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def environ(database_url: str, redis_url: str) -> dict[str, str]:
    """The settings of `settings` as environment variables."""
    return _environ(database_url, redis_url)


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    """Settings for this test's database and Redis; webhooks may go to this machine."""
    return Settings.from_env(environ)


@pytest.fixture
def start_server(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartServer]:
    """A function that starts a web process (`worker=True`: and a Celery worker) with settings of the test's own.

    start_server(worker=False, RETENTION_DAYS="3", …) -> RunningServer. Ended with the test.
    """
    yield from _servers(new_database, redis_server, tmp_path_factory)


@pytest.fixture(scope="session")
def server(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A web process shared by many tests: do not stop it, use streams and names of your own."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield next(servers)()
    next(servers, None)


@pytest.fixture(scope="session")
def product(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Web and worker, shared by many tests: do not stop it, use streams and endpoints of your own."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield next(servers)(worker=True)
    next(servers, None)


_running: list[RunningServer] = []


def _servers(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, directories: pytest.TempPathFactory
) -> Iterator[StartServer]:
    started: list[RunningServer] = []

    def start(*, worker: bool = False, factory: str = FACTORY, **changed: str) -> RunningServer:
        port = str(free_port())
        settings = _environ(new_database(), _redis_of(redis_server.url, next(REDIS_FOR_SERVERS)))
        settings |= {"PORT": port, "WEB_CONCURRENCY": "1"}
        env = environment(settings | {"PUBLIC_URL": f"http://127.0.0.1:{port}"} | changed)
        logs = directories.mktemp("logs")
        database = Database(env["DATABASE_URL"])
        keys = make_keys(database)
        database.close()
        web = start_web(env, logs / "web.log", factory)
        found = RunningServer(f"http://127.0.0.1:{port}", env, keys, web)
        started.append(found)
        _running.append(found)
        if worker:
            found.worker = start_worker(env, logs / "worker.log")
        return found

    yield start
    for server in started:
        server.kill()
        _running.remove(server)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: no garbage collection need look at it again."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the end of each process's output below a failure."""
    report = yield
    if report.failed:
        for server in _running:
            for process in server.processes:
                report.sections.append((f"{process.name} {process.pid}", process.log_text()[-LOG_TAIL_BYTES:]))
    return report


def _environ(database_url: str, redis_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": SECRET_KEY,
        "ALLOW_SUBNETS": "127.0.0.0/8,::1/128",
    }


def _database_of(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _redis_of(url: str, number: int) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))
