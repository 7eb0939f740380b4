"""What stands while a bench runs: one PostgreSQL and one Redis, durable as in production, and processes on them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import requests

from app.local import children
from app.local.embedded import EmbeddedPostgres, EmbeddedRedis
from bench.place import ROOT
from bench.programs import BenchError, waited

PREFIX = "twofold-bench-"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOG_TAIL = 3000


@contextmanager
def work_directory() -> Iterator[Path]:
    """A directory on disk; what runs that were killed have left is ended and removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            children.end(children.marked(left), [(signal.SIGKILL, 10.0)])
            shutil.rmtree(left, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    directory.chmod(0o711)  # PostgreSQL may run as another user
    os.environ[children.RUN_MARK] = str(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Engines:
    """One PostgreSQL and one Redis."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.postgres = EmbeddedPostgres(directory / "postgres", say=lambda _: None)
        self.redis = EmbeddedRedis(directory / "redis", say=lambda _: None)

    def start(self) -> None:
        """Start both."""
        for engine in (self.postgres, self.redis):
            (self.directory / engine.directory.name).mkdir(exist_ok=True, mode=0o711)
            engine.start()

    def stop(self) -> None:
        """End both."""
        self.postgres.stop()
        self.redis.stop()

    def new_database(self, name: str) -> str:
        """The URL of a fresh, empty database."""
        sql(self.postgres.url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        sql(self.postgres.url, f"CREATE DATABASE {name}")
        return urlunsplit(urlsplit(self.postgres.url)._replace(path=f"/{name}"))

    def kinds(self) -> dict[str, list[int]]:
        """Their processes, by kind."""
        found = {"postgres": self.postgres.process, "redis": self.redis.process}
        return {kind: [process.pid] for kind, process in found.items() if process is not None}


def sql(url: str, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own; its rows, if it gives any."""
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        done = connection.execute(statement.encode(), values or None)
        return done.fetchall() if done.description else []


class Running:
    """One process of a contender, its output in a file."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, directory: Path = ROOT
    ) -> None:
        self.name, self._log = name, log
        with log.open("ab") as output:
            self._process = children.spawn(command, env=env, directory=directory, output=output.fileno())
        self.pid = self._process.pid

    def wait_for(self, url: str) -> None:
        """Returns when the URL answers 200; raises BenchError."""

        def answers() -> bool:
            if self._process.poll() is not None:
                raise BenchError(f"{self.name} ended with {self._process.returncode}:\n{self.log_tail()}")
            with suppress(requests.RequestException):
                return requests.get(url, timeout=2).status_code == 200
            return False

        if not waited(answers, START_SECONDS, poll_seconds=0.1):
            raise BenchError(f"{self.name} is not ready after {START_SECONDS:.0f} s:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what it has printed."""
        return self._log.read_text(errors="replace")[-LOG_TAIL:]

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left of its session after a while."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def environment(settings: Mapping[str, str], programs: Path = Path(sys.executable).parent) -> dict[str, str]:
    """Ours without what would leak in, plus `settings`. programs: the folder that is searched first."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", children.RUN_MARK: os.environ[children.RUN_MARK], **settings}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
