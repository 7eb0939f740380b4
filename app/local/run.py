"""`make run`: the whole product on this machine, with its own PostgreSQL and Redis unless others are given.

Runs the Procfile's processes, starts again whatever dies, and ends everything it started when it is told to stop.
All its files are in `var/` (or TWOFOLD_VAR).
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import psycopg
import requests
from honcho.environ import parse_procfile

from app.contracts import load
from app.database.connection import Database
from app.local import children, launch
from app.local.console import Console, warn
from app.local.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis, EmbeddedServer
from app.local.keys import LocalKeys, local_keys
from app.local.private_file import write_private
from app.local.run_lock import AlreadyRunningError, RunLock
from app.local.supervisor import Program, Supervisor
from app.redis_connection import FAILURES, connect
from app.settings import Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]  # where Procfile and alembic.ini are
LOOPBACK = "127.0.0.0/8,::1/128"  # a local run may send webhooks to this machine
STOP_SECONDS = 30.0  # gunicorn lets streams go within 20 s; a drain finishes what it has in flight
SECOND_SIGNAL_SECONDS = 0.5  # one Ctrl-C can arrive twice (terminal and make); a later one means "now"
NOT_READY_SECONDS = 30.0
EVERYWHERE = ("", "0.0.0.0", "::")
# To look at the other settings and the contract files before anything is started: nonsense is named once, here, not by
# each process.
NO_ENGINES = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}


class RunError(Exception):
    """The run cannot go on; the text is for the user."""


class Stopped(BaseException):
    """A signal asked to stop. BaseException: no `except Exception` on the way may take it."""


@dataclass(frozen=True)
class Place:
    """Where this run keeps its files and where it listens."""

    directory: Path
    host: str
    port: int

    @property
    def base_url(self) -> str:
        """The address for clients on this machine."""
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        return f"http://{host}:{self.port}"


def place_from(environ: Mapping[str, str]) -> Place:
    """TWOFOLD_VAR, HOST and PORT as a Place. Raises RunError for a port that is none."""
    text = environ.get("PORT") or "8000"
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise RunError(f"PORT is {text!r}; give a number from 1 to 65535, such as PORT=8001")
    return Place(Path(environ.get("TWOFOLD_VAR") or ROOT / "var").resolve(), environ.get("HOST", ""), int(text))


def check_port(place: Place) -> None:
    """Raises RunError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        try:
            probe.bind((place.host or "127.0.0.1", place.port))
        except OSError as error:
            raise RunError(
                f"Port {place.port} cannot be used: {error.strerror}.\n"
                f"Stop the program that has it, or choose another port: PORT={place.port % 65535 + 1} make run"
            ) from None


def child_environment(environ: Mapping[str, str], place: Place, urls: Mapping[str, str]) -> dict[str, str]:
    """The environment of the Procfile's processes: ours, what a local run adds, and the engines' addresses."""
    found = {name: value for name, value in environ.items() if name != "BIND"}
    found |= urls
    found |= {"PORT": str(place.port), "HOST": place.host, "PYTHONUNBUFFERED": "1"}
    found[children.RUN_MARK] = str(place.directory)
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
    found.setdefault("ALLOW_SUBNETS", LOOPBACK)  # an empty value counts as set
    found["PUBLIC_URL"] = environ.get("PUBLIC_URL") or place.base_url
    found["SECRET_KEY"] = environ.get("SECRET_KEY") or _kept_secret(place.directory / "secret_key")
    return found


class LocalRun:
    """One `make run`, from the lock to the last child's end."""

    def __init__(self, place: Place, environ: Mapping[str, str]) -> None:
        self._place = place
        self._environ = environ
        self._lines = dict(parse_procfile((ROOT / "Procfile").read_text()).processes)
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
        keys = self._make_keys()
        for name, line in self._lines.items():
            self._supervisor.keep(Program(name, lambda line=line: self._spawn(line, env)))  # type: ignore[misc]
        self._wait_ready()
        self._keys = keys
        self._processes_changed()
        self._console.plain(welcome(self._place.base_url, keys, self._place.directory))
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

    @property
    def _described(self) -> Path:
        return self._place.directory / "dev.json"

    def _spawn(self, line: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return children.spawn(["/bin/sh", "-c", f"exec {line}"], env=env, directory=ROOT, output=subprocess.PIPE)

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

    def _make_keys(self) -> LocalKeys:
        database = Database(self._urls["DATABASE_URL"])
        try:
            return local_keys(database, self._place.directory / "keys.json")
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


def welcome(base_url: str, keys: LocalKeys, directory: Path) -> str:
    """What a run prints when it is ready: the address, the keys' place and lines to try, to be pasted as they are."""
    shown = os.path.relpath(directory) if directory.is_relative_to(Path.cwd()) else str(directory)
    auth = f"-H 'Authorization: Bearer {keys.workspace_key}'"
    json_type = "-H 'Content-Type: application/json'"
    event = '{"stream":{"kind":"call","id":"call_1"},"type":"call.barge_in","data":{"at_ms":1200}}'
    return f"""
Twofold is ready at {base_url}
Keys and addresses: {shown}/dev.json. Ctrl-C stops everything.

Watch webhooks arrive, in another terminal:
  .venv/bin/twofold listen --port 9000

Then try, one after the other (the last one stays open and shows events as they come):
  curl -sS -w '\\n' {base_url}/v1/endpoints {auth} {json_type} -d '{{"url":"http://127.0.0.1:9000/"}}'
  curl -sS -w '\\n' {base_url}/v1/events {auth} {json_type} -d '{event}'
  curl -sS -w '\\n' '{base_url}/v1/deliveries?limit=5' {auth}
  curl -sS -w '\\n' {base_url}/readyz {base_url}/metrics
  curl -sSN '{base_url}/v1/streams/call/call_1/live?after_seq=0' {auth}
"""


def main(argv: list[str] | None = None) -> int:
    """Run until a signal; returns the exit status."""
    parser = argparse.ArgumentParser(prog="twofold dev", description=__doc__)
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
        _stop_on_signals()
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


def _stop_on_signals() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into Stopped, wherever the program then is."""
    last = 0.0

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        repeated = time.monotonic() - last < SECOND_SIGNAL_SECONDS
        last = time.monotonic()
        if not repeated:
            raise Stopped

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored: started by nohup, to outlive its terminal
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, handle)


def _kept_secret(path: Path) -> str:
    """The SECRET_KEY of this directory, made at first use. Losing it loses the webhook secrets."""
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    write_private(path, secrets.token_hex(32) + "\n")
    return path.read_text().strip()


def _check_postgres(url: str) -> None:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        raise RunError(f"DATABASE_URL is set, but PostgreSQL there does not answer: {error}") from None


def _check_redis(url: str) -> None:
    try:
        with connect(url, seconds=5) as client:
            client.ping()
    except (*FAILURES, ValueError) as error:
        raise RunError(f"REDIS_URL is set, but Redis there does not answer: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
