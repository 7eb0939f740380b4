"""Start and stop child processes so that none outlives us, and find those of a run that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from app.local import launch

RUN_MARK = "TWOFOLD_RUN"  # in the environment of every process of a local run: the run's directory


@dataclass(frozen=True)
class User:
    """The system user that a child runs as."""

    name: str
    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
    output: IO[bytes] | int | None = None,
    user: User | None = None,
    parent_death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `command` as leader of its own session, ended by `parent_death_signal` when the calling thread ends.

    Own session: a Ctrl-C in the terminal reaches the caller alone, who then ends its children in order. Standard output
    and error both go to `output`. A command that cannot run ends with status 1 and says why there.
    """
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    ids = [str(os.getpid()), str(int(parent_death_signal)), str(uid), str(gid)]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", launch.__file__, *ids, *command],
        env=env,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
    )


def created_at(pid: int) -> float | None:
    """When process `pid` began (seconds since 1970); None if there is none. With the pid this is its identity."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def same_process(pid: int, began_at: float) -> psutil.Process | None:
    """The living process that had this pid and began then, or None: the pid may by now be somebody else's."""
    try:
        process = psutil.Process(pid)
        # The boot time that psutil adds may shift with the clock by a little between two reads.
        alive = abs(process.create_time() - began_at) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if alive else None


def marked(directory: Path) -> list[psutil.Process]:
    """Processes that a run in `directory` started (ourselves excepted), found by RUN_MARK in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUN_MARK) == str(directory):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or not ours to read
    return found


def end(processes: Iterable[psutil.Process], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn to those still alive, waiting up to its seconds; stops as soon as all have ended."""
    alive = list(processes)
    for number, seconds in signals:
        for process in alive:
            try:
                process.send_signal(number)
            except psutil.Error:
                continue
        _, alive = psutil.wait_procs(alive, timeout=seconds)
        if not alive:
            return


def stop(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn to our own child, waiting up to its seconds; returns when it has ended."""
    for number, seconds in signals:
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
