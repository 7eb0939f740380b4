"""One product under trial: web, worker and beat as the Procfile has them, each in reach of signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from app import failpoints
from app.database.connection import Database
from app.local import children
from app.local.keys import make_keys
from tests.chaos import engines
from tests.chaos.engines import Engines, Relays
from tests.processes import LINES, RunningProcess, environment, eventually, free_port, start_web, start_worker

# Short, so that what a killed worker held is soon due again. (An attempt's 3 s and 2 s to record it.)
LEASE_SECONDS = 5.0
SEND_SECONDS = 3.0
SETTINGS = {
    "SECRET_KEY": "0123456789abcdef" * 4,
    "ALLOW_SUBNETS": "127.0.0.0/8,::1/128",
    "WEB_CONCURRENCY": "2",
    "LEASE_SECONDS": f"{LEASE_SECONDS:.0f}",
    "SEND_TOTAL_SECONDS": f"{SEND_SECONDS:.0f}",
    "SEND_CONNECT_SECONDS": "2",
    "RETRY_DELAYS_SECONDS": "1,2,4,8,15,30,60,120,240,480",
    "MAX_OPEN_STREAMS": "1000000",
}
HOUR_SECONDS = 3600
CLOCK = Path(__file__).parent / "clock.c"


@dataclass(frozen=True)
class Build:
    """How a product is set up.

    relays: its connections to PostgreSQL and Redis can be broken; web_clock, worker_clock: by how many seconds a
    process's time of day is off; small_disk: its PostgreSQL has a disk of its own; settings: over SETTINGS.
    """

    relays: bool = False
    web_clock: int = 0
    worker_clock: int = 0
    small_disk: bool = False
    settings: tuple[tuple[str, str], ...] = ()


PLAIN = Build()


class Product:
    """A running product. Everything that starts a process must be called by the main thread."""

    def __init__(self, found: Engines, directory: Path, build: Build) -> None:
        self.engines, self.directory, self.build = found, directory, build
        directory.mkdir(parents=True)
        self.database_url = found.new_database()
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.relays: dict[str, Relays] = {}
        self._started: list[RunningProcess] = []
        self._orphans: list[psutil.Process] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        if self.build.relays:
            postgres_url, redis_url = self.engines.postgres.url, self.engines.redis.url
            for name, url in (("web", postgres_url), ("worker", postgres_url), ("redis", redis_url)):
                self.relays[name] = Relays(url, self.directory / f"relay-{name}.log")
        self._environ = {
            "web": self._environment("web", self.build.web_clock),
            "worker": self._environment("worker", self.build.worker_clock),
        }
        database = Database(self.database_url)
        self.keys = make_keys(database)
        database.close()
        with self.engines.connect_redis() as client:
            client.flushall()
        self.web, self.worker = self._start_web(), self._start_worker()
        log = self.directory / "beat.log"
        self._started.append(RunningProcess("beat", LINES["beat"], self._environ["worker"], log))

    def _start_web(self) -> RunningProcess:
        self._started.append(start_web(self._environ["web"], self.directory / "web.log"))
        return self._started[-1]

    def _start_worker(self) -> RunningProcess:
        self._started.append(start_worker(self._environ["worker"], self.directory / "worker.log"))
        return self._started[-1]

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "", **more: Any) -> requests.Response:
        """One request with a key, the platform's by default."""
        headers = {"Authorization": f"Bearer {key or self.keys.platform_key}", **more.pop("headers", {})}
        with requests.Session() as http:
            http.trust_env = False
            return http.request(method, self.base_url + path, json=body, headers=headers, timeout=15, **more)

    def sql(self, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """Run a statement in the product's database, past every relay."""
        return engines.rows(self.database_url, statement, values)

    def web_children(self) -> list[psutil.Process]:
        """gunicorn's workers."""
        return children_of(self.web.pid)

    def pool(self) -> list[psutil.Process]:
        """The processes of Celery's pool; not a standby."""
        return [child for child in children_of(self.worker.pid) if "workers.standby" not in _arguments(child)]

    def kill_web(self) -> None:
        """SIGKILL for gunicorn and its workers, and a new start, as by a supervisor."""
        self.web.kill_all()
        self.web = self._start_web()

    def kill_worker(self) -> None:
        """The same for Celery and its pool."""
        self.worker.kill_all()
        self.worker = self._start_worker()

    def kill_worker_parent(self) -> None:
        """SIGKILL for Celery's parent process alone, and a new start. What it leaves is ended with the product."""
        self._orphans += children_of(self.worker.pid, recursive=True)
        self.worker.send_signal(signal.SIGKILL)
        eventually(lambda: self.worker.status is not None, 10)
        self.worker = self._start_worker()

    def supervise(self) -> list[str]:
        """Start again what has ended by itself, as a supervisor does; what that was, in words."""
        found = []
        if self.web.status is not None:
            found.append(f"web ended by itself with status {self.web.status}")
            self.kill_web()
        if self.worker.status is not None:
            found.append(f"the worker ended by itself with status {self.worker.status}")
            self.kill_worker()
        return found

    def failpoint(self, point: str, action: str) -> Path:
        """The file that lets the next process that reaches the point kill or stop itself; it removes the file."""
        return self.directory / f"{point}.{action}"

    @property
    def worker_environment(self) -> dict[str, str]:
        """For further processes on the worker's side."""
        return dict(self._environ["worker"])

    def clock(self, seconds: int) -> dict[str, str]:
        """The environment of a process whose time of day is off by so much."""
        if not seconds:
            return {}
        library = self.directory / "clock.so"
        if not library.exists():
            subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(CLOCK)], check=True, timeout=60)
        return {"LD_PRELOAD": str(library), "CHAOS_CLOCK_SECONDS": str(seconds)}

    def start_release(self, tree: Path) -> tuple[RunningProcess, RunningProcess, str]:
        """Another release's web process and worker beside these; returns the address of the former, too."""
        port = str(free_port())
        changed = {"PORT": port, "PYTHONPATH": str(tree), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
        made = []
        for name in ("web", "worker"):
            env = {**self._environ[name], **changed}
            env.pop(failpoints.VARIABLE)
            line = f"env -C {tree} {LINES[name]}"
            made.append(RunningProcess(f"old {name}", line, env, self.directory / f"old-{name}.log"))
        self._started += made
        return made[0], made[1], changed["PUBLIC_URL"]

    @property
    def engine_urls(self) -> dict[str, str]:
        """PostgreSQL and Redis, past every relay, by setting."""
        return {"DATABASE_URL": self.database_url, "REDIS_URL": self.engines.redis.url}

    def start_beside(self, name: str, changed: Mapping[str, str], place: Callable[[str], str]) -> RunningProcess:
        """A second web process or worker. changed: its settings; place: makes its command line one for its place."""
        env = {**self._environ[name], **changed}
        env.pop(failpoints.VARIABLE)
        log = self.directory / f"second-{name}.log"
        self._started.append(RunningProcess(f"second {name}", place(LINES[name]), env, log))
        return self._started[-1]

    def stop(self) -> None:
        """End everything at once."""
        for process in self._started:
            if process.status is None:
                self._orphans += children_of(process.pid, recursive=True)
                process.kill_all()
        for orphan in self._orphans:
            with suppress(psutil.Error):  # psutil knows a process by its start, too: nobody else's is meant
                orphan.kill()
        for relays in self.relays.values():
            relays.stop()
        with suppress(Exception):
            name = self.database_url.rpartition("/")[2]
            engines.rows(self.engines.postgres.url, f"DROP DATABASE {name} WITH (FORCE)")

    def keep_logs(self, place: Path) -> None:
        """Copy what the processes have printed."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for log in self.directory.glob("*.log"):
            shutil.copy(log, place)
        shutil.copy(self.engines.postgres.directory / "server.log", place / "postgres.log")

    def _environment(self, process: str, clock: int) -> dict[str, str]:
        behind = self.engine_urls
        if self.relays:
            behind["DATABASE_URL"] = self.relays[process].url(self.database_url)
            behind["REDIS_URL"] = self.relays["redis"].url(self.engines.redis.url)
        points = ",".join(
            f"{point}:{action}@{self.failpoint(point, action)}"
            for point in failpoints.POINTS
            for action in ("kill", "stop")
        )
        armed = {failpoints.VARIABLE: points, failpoints.ALLOWED_BY[0]: "1"}
        place = {"PORT": str(self.port), "PUBLIC_URL": self.base_url, children.RUN_MARK: os.environ[children.RUN_MARK]}
        return environment({**SETTINGS, **behind, **armed, **place, **dict(self.build.settings), **self.clock(clock)})


def children_of(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """The living children of a process."""
    try:
        found = psutil.Process(pid).children(recursive=recursive)
        return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
