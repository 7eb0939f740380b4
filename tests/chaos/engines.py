"""PostgreSQL and Redis of a chaos run: durable, killed and mended at will, and reached through relays where asked."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
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
import redis

from app.local import children
from app.local.embedded import EmbeddedPostgres, EmbeddedRedis, EmbeddedServer
from tests.chaos.relay import CUT
from tests.processes import ROOT, environment, eventually, free_port

RELAY = Path(__file__).parent / "relay.py"
PREFIX = "twofold-chaos-"
TEMPLATE = "template_of_chaos"
NAME = "chaos"
OURS = f"-c application_name={NAME}"  # of every connection to a product's database that is not the product's
READY_SECONDS = 60.0  # a PostgreSQL that was killed replays its log first
SMALL = "small"  # where it is mounted, in the run's directory
SMALL_DISK = "192m"  # PostgreSQL's empty data take 60 MB, and 64 MB are its log's
_numbers = itertools.count(1)


@contextmanager
def work_directory() -> Iterator[Path]:
    """A directory on disk for the run's data. Ends and removes what runs that were killed have left."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            children.end(children.marked(left), [(signal.SIGKILL, 10.0)])
            unmount(left)
            shutil.rmtree(left, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    directory.chmod(0o711)  # PostgreSQL may run as another user
    os.environ[children.RUN_MARK] = str(directory)  # by which a later run finds what this one has started
    try:
        yield directory
    finally:
        children.end(children.marked(directory), [(signal.SIGKILL, 10.0)])
        unmount(directory)
        shutil.rmtree(directory, ignore_errors=True)


class Engines:
    """One PostgreSQL and one Redis."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        directory.chmod(0o711)
        self.directory = directory
        self.postgres = EmbeddedPostgres(directory / "postgres")
        self.redis = EmbeddedRedis(directory / "redis")

    def start(self) -> None:
        """Start both, and make the database that others are copied from."""
        self.postgres.start()
        self.redis.start()
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        done = subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env=environment({"DATABASE_URL": _database_of(self.postgres.url, TEMPLATE)}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def new_database(self) -> str:
        """The URL of a fresh, migrated database."""
        name = f"chaos_{next(_numbers)}"
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return _database_of(self.postgres.url, name)

    def connect_redis(self) -> redis.Redis:
        """A client that is not cut with the product's."""
        return redis.Redis.from_url(self.redis.url, socket_timeout=5)

    def mend(self) -> None:
        """Whatever state a scenario left the engines in, they run and answer again."""
        for engine in (self.postgres, self.redis):
            thaw(engine)
            restart(engine)
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET ALL")
            connection.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """End both."""
        for engine in (self.postgres, self.redis):
            thaw(engine)
            engine.stop()


def restart(engine: EmbeddedServer) -> None:
    """Start an engine that may have ended; returns when it answers."""
    if engine.process is None or engine.process.poll() is not None:
        engine.spawn()
    engine.wait_ready(READY_SECONDS)


def freeze(engine: EmbeddedServer) -> None:
    """SIGSTOP for an engine's processes; some of them may end at this moment."""
    for process in processes_of(engine):
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def thaw(engine: EmbeddedServer) -> None:
    """SIGCONT for an engine's processes."""
    for process in processes_of(engine):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def processes_of(engine: EmbeddedServer) -> list[psutil.Process]:
    """An engine's process and those below it."""
    if engine.process is None or engine.process.poll() is not None:
        return []
    try:
        parent = psutil.Process(engine.process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def rows(database_url: str, statement: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own, past every relay; the rows, if it gives any."""
    options = f"{OURS} -c default_transaction_read_only=off -c lock_timeout=20000"
    with psycopg.connect(database_url, autocommit=True, options=options, connect_timeout=10) as connection:
        done = connection.execute(statement.encode(), values)
        return done.fetchall() if done.description else []


class Relays:
    """The relay processes before one engine; the product knows `port`, whatever happens to them."""

    def __init__(self, engine_url: str, log: Path) -> None:
        self.port = free_port()
        self._engine_url, self._log = engine_url, log
        self._current: subprocess.Popen[bytes] | None = None
        self._silent: list[subprocess.Popen[bytes]] = []
        self.mend()

    @property
    def is_running(self) -> bool:
        """Whether connections are carried, or swallowed."""
        return self._current is not None and self._current.poll() is None

    def url(self, behind: str) -> str:
        """The URL `behind` as the product is to have it."""
        parts = urlsplit(behind)
        credentials = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{self.port}"))

    def refuse(self) -> None:
        """Break every connection and refuse new ones, until `mend`."""
        if self._current is not None:
            self._current.kill()
            self._current.wait()
        self._current = None

    def mend(self) -> None:
        """Carry connections: again, or for the first time."""
        if self._current is None or not self.is_running:
            target = urlsplit(self._engine_url).port
            command = [sys.executable, str(RELAY), str(self.port), str(target)]
            with self._log.open("ab") as output:
                self._current = children.spawn(command, output=output.fileno(), parent_death_signal=signal.SIGKILL)
            eventually(lambda: listens(self.port), 10, about="the relay listens")
        else:
            self._current.send_signal(signal.SIGCONT)

    def swallow(self) -> None:
        """Be a black hole until `mend`."""
        self._signal(signal.SIGSTOP)

    def fall_silent(self) -> None:
        """Let nothing pass on the connections that are open now; new ones work."""
        assert self._current is not None
        self._silent.append(self._current)
        self._signal(signal.SIGUSR1)
        eventually(lambda: not listens(self.port), 10, about="the silent relay has left its port")
        self._current = None
        self.mend()

    def cut_next(self) -> None:
        """Lose the answer to the next COMMIT, or the next acknowledgement of a message (see relay.py)."""
        self._signal(signal.SIGUSR2)

    def cut_surely(self, seconds: float) -> None:
        """The same; returns when it has happened. Raises AssertionError if it does not in this time."""
        before = self._cuts()
        self.cut_next()
        eventually(lambda: self._cuts() > before, seconds, about="something is cut that was looked for")

    def _cuts(self) -> int:
        return self._log.read_text(errors="replace").split().count(CUT)

    def stop(self) -> None:
        """End them all."""
        for process in filter(None, [self._current, *self._silent]):
            process.kill()
            process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._current is not None
        self._current.send_signal(number)


def listens(port: int) -> bool:
    """Whether somebody on this machine listens on a port; without connecting to it."""
    wanted = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(wanted) and line.split()[3] == "0A" for line in lines)


def small_disk(directory: Path) -> Path | None:
    """A file system of a few megabytes under the run's directory; None where none can be mounted (it takes root)."""
    mount = directory / SMALL
    mount.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=0711", "chaos", str(mount)]
    done = subprocess.run(command, capture_output=True, check=False) if shutil.which("mount") else None
    return mount if done is not None and done.returncode == 0 else None


def unmount(directory: Path) -> None:
    """Give the small disk of a run's directory back, if there is one."""
    if (directory / SMALL).is_mount():
        subprocess.run(["umount", "--lazy", str(directory / SMALL)], check=False)


def _database_of(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
