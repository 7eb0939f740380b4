"""The product's own processes for tests: started as the Procfile says, stopped by their pids, their output kept."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import redis

from app.local import children, procfile
from app.local.keys import LocalKeys

ROOT = Path(__file__).resolve().parent.parent
LINES = procfile.lines()
FACTORY = "app:create_app()"
START_SECONDS = 180.0  # two CPU seconds, on a machine that may be busy with much else
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
START_POLL_SECONDS = 0.05  # of what takes seconds
PATIENCE_SECONDS = 30.0  # of a test that promises nobody a time; one that does says which
T = TypeVar("T")


def eventually(
    look: Callable[[], T],
    seconds: float = PATIENCE_SECONDS,
    *,
    about: str | Callable[[], str] = "",
    poll_seconds: float = POLL_SECONDS,
) -> T:
    """The first true value that `look` returns; fails the test, telling `about`, when `seconds` pass without one."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            told = about() if callable(about) else about
            raise AssertionError(f"not within {seconds} s: {told or look}\nlast seen: {value!r}")
        time.sleep(poll_seconds)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has come so far that it handles a signal by itself (Linux)."""
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


class RunningProcess:
    """One process with its own session, its output in a file. Ends with the tests, however they end."""

    def __init__(self, name: str, line: str, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = children.spawn(procfile.command(line), env=env, directory=ROOT, output=output.fileno())

    @property
    def pid(self) -> int:
        """Of the process itself: gunicorn's or Celery's parent."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs."""
        return self._process.poll()

    def log_text(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace")

    def send_signal(self, number: signal.Signals) -> None:
        """To the process alone, not to what it started."""
        self._process.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL for it and everything in its session; returns when it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, then wait; returns the status. What does not end in time is killed and fails the test."""
        if self.status is None:
            self.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not stop within {seconds} s:\n{self.log_text()[-4000:]}") from None
        finally:
            self.kill_all()


@dataclass
class RunningServer:
    """A web process (and, for a product, a worker) with keys to use it."""

    base_url: str
    env: dict[str, str]
    keys: LocalKeys
    web: RunningProcess
    worker: RunningProcess | None = None
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {self.workspace_key}"}

    @property
    def platform_key(self) -> str:
        return self.keys.platform_key

    @property
    def workspace_id(self) -> str:
        return self.keys.workspace_id

    @property
    def workspace_key(self) -> str:
        return self.keys.workspace_key

    @property
    def database_url(self) -> str:
        return self.env["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        return self.env["REDIS_URL"]

    @property
    def pid(self) -> int:
        return self.web.pid

    @property
    def processes(self) -> list[RunningProcess]:
        return [process for process in (self.worker, self.web) if process]

    def stop(self) -> None:
        """Stop gracefully; every process must end by itself with status 0."""
        running = [process for process in self.processes if process.status is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            assert process.stop() == 0, f"{process.name}:\n{process.log_text()[-4000:]}"

    def kill(self) -> None:
        """End everything at once, as for a test that is over."""
        for process in self.processes:
            process.kill_all()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would leak in from the outside, plus `settings`."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default", **settings}


def start_web(env: Mapping[str, str], log: Path, factory: str = FACTORY) -> RunningProcess:
    """Start gunicorn on env["PORT"]; returns when /readyz answers 200. factory: what makes the application."""
    base_url = f"http://127.0.0.1:{env['PORT']}"
    web = RunningProcess("web", LINES["web"].replace(FACTORY, factory), env, log)
    return _started(web, lambda: is_ready(base_url))


def is_ready(base_url: str) -> bool:
    """Whether /readyz answers 200, and soon."""
    asking = HTTPConnection(urlsplit(base_url).netloc, timeout=2)
    try:
        asking.request("GET", "/readyz")
        return asking.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        asking.close()


def start_worker(env: Mapping[str, str], log: Path) -> RunningProcess:
    """Start Celery; returns when it waits for its first wake-up."""

    return _started(RunningProcess("worker", LINES["worker"], env, log), lambda: waits_for_a_wake(env["REDIS_URL"]))


def waits_for_a_wake(redis_url: str) -> bool:
    """Whether a worker listens to this Redis database."""
    return workers_that_wait(redis_url) > 0


def workers_that_wait(redis_url: str) -> int:
    """How many workers listen to this Redis database."""
    with redis.Redis.from_url(redis_url) as client:
        number = str(client.connection_pool.connection_kwargs["db"])
        return sum(found["db"] == number and found["cmd"] == "brpop" for found in client.client_list())


def _started(process: RunningProcess, ready: Callable[[], bool]) -> RunningProcess:
    def alive_and_ready() -> bool:
        assert process.status is None, f"{process.name} ended with {process.status}"
        return ready()

    try:
        eventually(alive_and_ready, START_SECONDS, about=f"{process.name} ready", poll_seconds=START_POLL_SECONDS)
    except BaseException as error:
        process.kill_all()
        error.add_note(f"What {process.name} printed:\n{process.log_text()[-8000:]}")
        raise
    return process
