"""`make run`: the whole product on this machine, with its own PostgreSQL and Redis unless others are given.

Runs the Procfile's processes, starts again whatever dies, and ends everything it started when it is told to stop.
All its files are in `var/` (or TWOFOLD_VAR).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psycopg
import requests

from app.contracts import load
from app.core.database_url import without_pooler
from app.database.connection import Database
from app.local import children, launch, procfile
from app.local.console import Console, warn
from app.local.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis, EmbeddedServer
from app.local.keys import LocalKeys, local_keys
from app.local.operator import LocalOperator, local_operator
from app.local.place import Place, RunError, check_port, child_environment, place_from
from app.local.private_file import write_private
from app.local.run_lock import AlreadyRunningError, RunLock
from app.local.stopping import Stopped, stop_on_signals
from app.local.supervisor import Program, Supervisor
from app.local.welcome import welcome
from app.project import project_root
from app.redis_connection import FAILURES, connect
from app.settings import Settings, SettingsError

STOP_SECONDS = 30.0  # gunicorn closes its streams within 20 s; a drain finishes what it has in flight
NOT_READY_SECONDS = 30.0  # then, and as often, it says what is missing
# Lets the other settings and the contract files be checked before anything is started: a mistake is named once, here,
# and not by each process.
NO_ENGINES = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}


class LocalRun:
    """One `make run`, from the lock to the last child's end."""

    def __init__(self, place: Place, environ: Mapping[str, str]) -> None:
        self._place = place
        self._environ = environ
        self._lines = procfile.lines()
        self._release = self._lines.pop("release")
        names = ["twofold", "release", "postgres", "redis", *self._lines]
        self._console = Console(names)
        self._supervisor = Supervisor(self._console, self._processes_changed)
        self._say: Callable[[str], None] = self._supervisor.say
        self._lock = RunLock(place.directory / "run.lock")
        self._engines: dict[str, EmbeddedServer] = {}
        self._urls: dict[str, str] = {}
        self._keys: LocalKeys | None = None  # known once everything is ready

    def claim(self) -> None:
        """Make the directory ours. Raises AlreadyRunningError; nothing may be stopped or killed before this."""
        self._place.directory.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()

    def go(self) -> None:
        """Start everything and keep it alive; never returns, ends by an exception."""
        self._described.unlink(missing_ok=True)
        self._end_leftovers()
        check_port(self._place)
        settings = Settings.from_env(NO_ENGINES | child_environment(self._environ, self._place, {}))
        load.load(settings.contracts_dir)
        self._find_engines()
        env = child_environment(self._environ, self._place, self._urls)
        if self._supervisor.run_once(Program("release", lambda: self._spawn(self._release, env))) != 0:
            raise RunError("The database could not be brought up to date (see above); nothing was started.")
        keys, operator = self._make_keys()
        for name, line in self._lines.items():
            self._supervisor.keep(Program(name, lambda line=line: self._spawn(line, env)))  # type: ignore[misc]
        self._wait_ready()
        self._keys = keys
        self._processes_changed()
        self._console.plain(welcome(self._place.base_url, keys, operator, self._place.directory))
        while True:
            self._supervisor.tick()

    def stop(self) -> None:
        """End gracefully what was started; a Stopped raised meanwhile leaves the rest to kill()."""
        if self._supervisor.pids:
            self._say("Stopping.")
        self._lock.mark_stopping()
        self._described.unlink(missing_ok=True)
        late = self._supervisor.stop(list(self._lines), signal.SIGTERM, STOP_SECONDS)
        if late:
            self._say(f"Not stopped within {STOP_SECONDS:.0f} s: {', '.join(late)}.")

    def kill(self) -> None:
        """End whatever still runs, processes first, then the engines."""
        self._supervisor.kill(list(self._lines))
        children.end(children.marked(self._place.directory), [(signal.SIGKILL, 5.0)])
        for engine in self._engines.values():
            engine.stop()
        self._described.unlink(missing_ok=True)
        self._console.close()

    @property
    def _described(self) -> Path:
        return self._place.directory / "dev.json"

    def _spawn(self, line: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return children.spawn(procfile.command(line), env=env, directory=project_root(), output=subprocess.PIPE)

    def _end_leftovers(self) -> None:
        left = children.marked(self._place.directory)
        if left:
            self._say(f"Ending {len(left)} processes that an earlier run left.")
            children.end(left, [(signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)])

    def _find_engines(self) -> None:
        for name, variable, check, kind in (
            ("postgres", "DATABASE_URL", _check_postgres, EmbeddedPostgres),
            ("redis", "REDIS_URL", _check_redis, EmbeddedRedis),
        ):
            if given := self._environ.get(variable):
                check(given)
                self._urls[variable] = given
                continue
            engine = kind(self._place.directory / name, say=self._say)
            self._engines[name] = engine
            self._urls[variable] = engine.start()
            self._supervisor.keep(Program(name, engine.spawn, process=engine.process))

    def _make_keys(self) -> tuple[LocalKeys, LocalOperator]:
        database = Database(self._urls["DATABASE_URL"])
        try:
            keys = local_keys(database, self._place.directory / "keys.json")
            return keys, local_operator(database, self._place.directory / "console.json")
        finally:
            database.close()

    def _wait_ready(self) -> None:
        """Returns when /readyz answers 200; says from time to time what is missing."""
        say_at = time.monotonic() + NOT_READY_SECONDS
        while (lacking := what_is_not_ready(self._place.base_url)) is not None:
            self._supervisor.tick()
            if time.monotonic() > say_at:
                say_at = time.monotonic() + NOT_READY_SECONDS
                self._say(f"Not ready yet; {self._place.base_url}/readyz says: {lacking}")

    def _processes_changed(self) -> None:
        if self._keys is None:
            return
        described = {
            "base_url": self._place.base_url,
            **asdict(self._keys),
            "database_url": self._urls["DATABASE_URL"],
            "redis_url": self._urls["REDIS_URL"],
            "pids": self._supervisor.pids,
            "run_pid": os.getpid(),
        }
        write_private(self._described, json.dumps(described, indent=2) + "\n")


def what_is_not_ready(base_url: str) -> str | None:
    """None when /readyz answers 200, else what it says."""
    with requests.Session() as http:  # closed at once: a connection kept open would delay a graceful stop
        http.trust_env = False  # no proxy between us and this machine
        try:
            response = http.get(f"{base_url}/readyz", timeout=2)
        except requests.RequestException:
            return "no answer yet"
        return None if response.status_code == 200 else response.text[:500]


def main(argv: list[str] | None = None) -> int:
    """Run until a signal; returns the exit status."""
    parser = argparse.ArgumentParser(prog="twofold up", description=__doc__)
    parser.add_argument("--stop-with-parent", action="store_true", help="stop when the starting process ends (Linux)")
    if parser.parse_args(argv).stop_with_parent:
        launch.die_with_parent(signal.SIGTERM)
    try:
        return _run(LocalRun(place_from(os.environ), os.environ))
    except AlreadyRunningError as error:
        warn(f"Twofold is already running here (process {error.pid}). Stop it first: kill {error.pid}")
    except (RunError, EmbeddedError, SettingsError, load.ContractFileError) as error:
        warn(str(error))
    except OSError as error:
        warn(f"Twofold cannot run here: {error}")
    return 1


def _run(run: LocalRun) -> int:
    try:
        stop_on_signals()
        run.claim()
        try:
            run.go()
        except BaseException:
            with suppress(Stopped):
                run.stop()
            raise
        finally:
            run.kill()
    except Stopped:
        pass
    return 0


def _check_postgres(url: str) -> None:
    try:
        psycopg.connect(without_pooler(url)[0], connect_timeout=5).close()
    except (psycopg.Error, ValueError) as error:
        raise RunError(f"DATABASE_URL is set, but PostgreSQL there does not answer: {error}") from None


def _check_redis(url: str) -> None:
    try:
        with connect(url, seconds=5) as client:
            client.ping()
    except (*FAILURES, ValueError) as error:
        raise RunError(f"REDIS_URL is set, but Redis there does not answer: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
