"""The local run's supervisor: dead processes come back, output is never waited for, nothing outlives a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.local import children
from app.local.console import Console
from app.local.run_lock import AlreadyRunningError, RunLock
from app.local.supervisor import LINE_BYTES, Program, Supervisor, how_it_ended, pause_seconds
from tests.processes import ROOT, eventually


class Screen:
    """A supervisor that prints into a file, with a count of its changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.changes = 0
        self._console = Console(["twofold", "a", "b"], self._descriptor)
        self.supervisor = Supervisor(self._console, self._changed)

    def text(self) -> str:
        return self._path.read_bytes().decode()

    def whole_text(self) -> str:
        """All that was printed; nothing can be printed afterwards."""
        self._console.close()
        return self.text()

    def tick_until(self, look: Callable[[], bool], seconds: float = 10.0) -> None:
        def ticked() -> bool:
            self.supervisor.tick()
            return look()

        eventually(ticked, seconds, about=self.text, poll_seconds=0)

    def close(self) -> None:
        self._console.close()
        os.close(self._descriptor)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    found = Screen(tmp_path / "screen")
    yield found
    found.supervisor.kill(["a", "b"])
    found.close()


def program(name: str, script: str) -> Program:
    return Program(name, lambda: children.spawn(["/bin/sh", "-c", script], output=subprocess.PIPE))


def test_lines_carry_the_name_of_their_process(screen: Screen) -> None:
    assert screen.supervisor.run_once(program("a", "echo one; echo two >&2; printf three")) == 0
    assert screen.whole_text() == "a       | one\na       | two\na       | three\n"


def test_the_status_of_a_program_that_runs_once_is_returned(screen: Screen) -> None:
    assert screen.supervisor.run_once(program("a", "exit 3")) == 3


def test_a_very_long_line_is_cut_rather_than_kept(screen: Screen) -> None:
    screen.supervisor.run_once(program("a", f"head -c {LINE_BYTES * 3 + 1} /dev/zero | tr '\\0' x"))
    lines = screen.whole_text().splitlines()
    assert sum(line.count("x") for line in lines) == LINE_BYTES * 3 + 1
    assert max(map(len, lines)) <= 2 * LINE_BYTES + 20


def test_a_killed_process_is_started_again_at_once_and_that_is_said(screen: Screen) -> None:
    screen.supervisor.keep(program("a", "exec sleep 100"))
    first = screen.supervisor.pids["a"]
    os.kill(first, signal.SIGKILL)
    screen.tick_until(lambda: screen.supervisor.pids.get("a", first) != first, 2)
    assert "twofold | a has ended (SIGKILL). Starting it again now." in screen.whole_text()
    assert screen.changes == 1


def test_what_a_killed_process_had_started_ends_with_it(screen: Screen, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    screen.supervisor.keep(program("a", f"sleep 100 & echo $! > {pid_file}; wait"))
    eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    left = psutil.Process(int(pid_file.read_text()))
    os.kill(screen.supervisor.pids["a"], signal.SIGKILL)
    screen.tick_until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)


def test_a_process_that_keeps_dying_is_started_ever_later(screen: Screen) -> None:
    screen.supervisor.keep(program("a", "exit 1"))
    screen.tick_until(lambda: "in 0.5 s" in screen.text())
    assert screen.text().count("Starting it again now.") == 4


def test_pauses_grow_to_five_seconds_and_no_further() -> None:
    assert [pause_seconds(deaths) for deaths in (0, 1, 4, 5, 6, 7, 8, 9, 50)] == [0, 0, 0, 0.5, 1, 2, 4, 5, 5]


def test_ends_are_described_by_status_or_signal() -> None:
    assert [how_it_ended(status) for status in (0, 2, -9)] == ["status 0", "status 2", "SIGKILL"]


def test_stop_lets_processes_end_by_themselves_and_prints_their_last_words(screen: Screen) -> None:
    screen.supervisor.keep(program("a", "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.05; done"))
    screen.tick_until(lambda: "up" in screen.text())
    assert screen.supervisor.stop(["a"], signal.SIGTERM, 10) == []
    assert "a       | bye" in screen.whole_text()


def test_stop_names_who_does_not_end_in_time(screen: Screen) -> None:
    screen.supervisor.keep(program("a", "trap '' TERM; echo up; while :; do sleep 0.05; done"))
    screen.tick_until(lambda: "up" in screen.text())
    assert screen.supervisor.stop(["a"], signal.SIGTERM, 0.2) == ["a"]


def test_kill_ends_a_process_that_ignores_everything_and_its_children(screen: Screen) -> None:
    screen.supervisor.keep(program("a", "trap '' TERM INT; sleep 100 & echo up; wait"))
    screen.tick_until(lambda: "up" in screen.text())
    leader = psutil.Process(screen.supervisor.pids["a"])
    family = [leader, *leader.children()]
    screen.supervisor.kill(["a"])
    eventually(lambda: not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE])


def test_children_of_a_run_are_known_by_their_mark(tmp_path: Path) -> None:
    env = {**os.environ, children.RUN_MARK: str(tmp_path)}
    process = children.spawn(["/bin/sh", "-c", "sleep 100 & wait"], env=env)
    eventually(lambda: len(children.marked(tmp_path)) == 2)
    assert children.marked(tmp_path.parent) == []
    children.end(children.marked(tmp_path), [(signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)])
    assert children.marked(tmp_path) == []
    process.wait()


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = children.spawn(["no-such-command"], output=log.fileno())
        assert process.wait(10) == 1
    assert (tmp_path / "log").read_text() == "cannot run no-such-command: No such file or directory\n"


def test_two_runs_cannot_hold_one_directory(tmp_path: Path) -> None:
    RunLock(tmp_path / "lock").acquire()
    with pytest.raises(AlreadyRunningError) as caught:
        RunLock(tmp_path / "lock").acquire()
    assert caught.value.pid == os.getpid()


def test_a_run_waits_for_one_that_is_stopping(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, app.local.run_lock\n"
        f"lock = app.local.run_lock.RunLock(pathlib.Path({str(tmp_path / 'lock')!r}))\n"
        "lock.acquire(); lock.mark_stopping(); print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        acquired = threading.Thread(target=RunLock(tmp_path / "lock").acquire)
        acquired.start()
        acquired.join(1.5)
        assert acquired.is_alive()
        holder.stdin.close()
        acquired.join(10)
        assert not acquired.is_alive()
