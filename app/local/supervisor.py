"""Keeps the processes of a local run alive: one that has died is started again at once."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from app.local.console import Console

TICK_SECONDS = 0.1
FAST_DEATH_SECONDS = 5.0  # a process that dies sooner did not really start
FAST_DEATHS_AT_ONCE = 5  # this many in a row are started again without a pause
LONGEST_PAUSE_SECONDS = 5.0
LINE_BYTES = 65536  # a longer line is printed in pieces


@dataclass
class Program:
    """One process to keep: how to start it, and what is known of the one that runs."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0  # monotonic
    start_again_at: float = 0.0  # monotonic; 0 while it runs
    fast_deaths: int = 0
    unfinished: bytearray = field(default_factory=bytearray)


def pause_seconds(fast_deaths: int) -> float:
    """How long to wait before starting again what has died `fast_deaths` times in a row soon after its start."""
    if fast_deaths < FAST_DEATHS_AT_ONCE:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** (fast_deaths - FAST_DEATHS_AT_ONCE))


def how_it_ended(status: int) -> str:
    """`status 1`, or `SIGKILL` for a process ended by a signal."""
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


class Supervisor:
    """Starts programs, prints their output, starts them again when they die. One thread calls tick() in a loop.

    on_change: called when processes were started again.
    """

    def __init__(self, console: Console, on_change: Callable[[], None]) -> None:
        self._console = console
        self._on_change = on_change
        self._programs: dict[str, Program] = {}
        self._selector = selectors.DefaultSelector()

    @property
    def pids(self) -> dict[str, int]:
        """The process of each program that runs now."""
        return {name: program.process.pid for name, program in self._programs.items() if program.process}

    def say(self, text: str) -> None:
        """Print a line of our own."""
        for line in text.split("\n"):
            self._console.line("twofold", line.encode())

    def keep(self, program: Program) -> None:
        """Start a program now (unless it runs already) and keep it alive from here on."""
        self._programs[program.name] = program
        if program.process is None:
            self._start(program)
        else:
            program.started_at = time.monotonic()
            self._listen(program)

    def run_once(self, program: Program) -> int:
        """Run a program to its end, printing its output; returns its status."""
        self._start(program)
        assert program.process is not None
        while (status := program.process.poll()) is None:
            self._read(TICK_SECONDS)
        self._drain(program)
        return status

    def tick(self) -> None:
        """Print what was written, notice who died, start those whose pause is over. Takes up to TICK_SECONDS."""
        self._read(TICK_SECONDS)
        changed = False
        for program in self._programs.values():
            if program.process is not None and (status := program.process.poll()) is not None:
                self._has_died(program, status)
            if program.process is None and time.monotonic() >= program.start_again_at:
                self._start(program)
                changed = True
        if changed:
            self._on_change()

    def stop(self, names: list[str], number: signal.Signals, seconds: float) -> list[str]:
        """Send a signal to these programs and wait, printing their last words; returns the names that still run."""
        for program in self._running(names):
            assert program.process is not None
            program.process.send_signal(number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(True for _ in self._running(names)):
            self._read(TICK_SECONDS)
        return [program.name for program in self._running(names)]

    def kill(self, names: list[str]) -> None:
        """End these programs and whatever they started, now."""
        for name in names:
            program = self._programs.get(name)
            if program and program.process:
                _kill_group(program.process.pid)
                program.process.wait()
                self._drain(program)
                program.process = None

    def _running(self, names: list[str]) -> Iterator[Program]:
        for name in names:
            program = self._programs.get(name)
            if program and program.process and program.process.poll() is None:
                yield program

    def _start(self, program: Program) -> None:
        program.process = program.start()
        program.started_at, program.start_again_at = time.monotonic(), 0.0
        self._listen(program)

    def _has_died(self, program: Program, status: int) -> None:
        assert program.process is not None
        self._drain(program)
        # Its own children would keep the port, or go on working unsupervised.
        _kill_group(program.process.pid)
        program.process = None
        fast = time.monotonic() - program.started_at < FAST_DEATH_SECONDS
        program.fast_deaths = program.fast_deaths + 1 if fast else 0
        pause = pause_seconds(program.fast_deaths)
        program.start_again_at = time.monotonic() + pause
        when = f"in {pause:g} s" if pause else "now"
        self.say(f"{program.name} has ended ({how_it_ended(status)}). Starting it again {when}.")

    def _listen(self, program: Program) -> None:
        if program.process is not None and program.process.stdout is not None:
            self._selector.register(program.process.stdout, selectors.EVENT_READ, program)

    def _read(self, seconds: float) -> None:
        if not self._selector.get_map():
            time.sleep(seconds)  # no output to wait for
        for key, _ in self._selector.select(seconds):
            data = os.read(key.fd, LINE_BYTES)
            if data:
                self._print(key.data, data)
            else:
                self._selector.unregister(key.fileobj)

    def _print(self, program: Program, data: bytes) -> None:
        program.unfinished += data
        *lines, rest = bytes(program.unfinished).split(b"\n")
        program.unfinished = bytearray(rest)
        if len(rest) >= LINE_BYTES:
            lines.append(rest)
            program.unfinished.clear()
        for line in lines:
            self._console.line(program.name, line)

    def _drain(self, program: Program) -> None:
        """Print what an ended process left in its pipe, and forget the pipe."""
        pipe = program.process.stdout if program.process else None
        if pipe is None:
            return
        os.set_blocking(pipe.fileno(), False)  # its own children may still hold the other end
        with suppress(BlockingIOError):
            while data := os.read(pipe.fileno(), LINE_BYTES):
                self._print(program, data)
        if program.unfinished:
            self._print(program, b"\n")
        with suppress(KeyError):
            self._selector.unregister(pipe)
        pipe.close()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
