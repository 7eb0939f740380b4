"""`make run` as its user meets it: it starts from nothing, says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from app.local import children
from app.local.place import Place, child_environment
from tests.prepared import Prepare
from tests.processes import ROOT, environment, eventually, free_port, is_ready

READY_SECONDS = 180.0  # four processes and two engines, on a machine that may be busy
PROGRAMS = {"postgres", "redis", "web", "worker", "beat"}


class Run:
    """One `python -m app.local.run` with its files in `directory` and its output in a file."""

    def __init__(self, directory: Path, *, parent: list[str] | None = None, shown: str = ".out", **env: str) -> None:
        self.directory = directory
        self.port = env.get("PORT") or str(free_port())
        self.output = directory.with_suffix(shown)
        command = [*(parent or []), sys.executable, "-m", "app.local.run"]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command + (["--stop-with-parent"] if parent else []),
                cwd=ROOT,
                env=environment({"TWOFOLD_VAR": str(directory), "PORT": self.port, "WEB_CONCURRENCY": "1"} | env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def described(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.directory / "dev.json").read_text())
        except FileNotFoundError:
            return None
        return found

    def ready(self) -> dict[str, Any]:
        """What dev.json says, once it is there and a web process answers."""

        def look() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.text()
            found = self.described()
            return found if found and found["run_pid"] == self.process.pid else None

        return eventually(look, READY_SECONDS, about=self.text)

    def ended(self, seconds: float = READY_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {seconds} s:\n{self.text()}") from None

    def remains(self) -> list[psutil.Process]:
        """What it started and has not ended."""
        return [*children.marked(self.directory), *servers_in(self.directory)]


def servers_in(directory: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            named = any(str(directory) in part for part in process.cmdline())
            if named or (process.name() == "redis-server" and process.cwd() == str(directory / "redis")):
                found.append(process)
        except psutil.Error:
            continue
    return found


def new_directory(engine_directory: Path) -> Path:
    return engine_directory / f"run-{os.urandom(4).hex()}"


@pytest.fixture
def directory(engine_directory: Path) -> Path:
    return new_directory(engine_directory)


@pytest.fixture(scope="module")
def running(engine_directory: Path) -> Iterator[Run]:
    """A run that has begun from nothing, for tests that leave it running."""
    run = Run(new_directory(engine_directory))
    try:
        yield run
        run.process.send_signal(signal.SIGTERM)
        assert run.ended() == 0, run.text()
        assert run.remains() == []
    finally:
        end([run])


@pytest.fixture
def start(directory: Path, prepare: Prepare) -> Iterator[Callable[..., Run]]:
    """A function that begins a run, in a place that has the data of an earlier one unless it begins from_nothing."""
    runs: list[Run] = []

    def begin(*, from_nothing: bool = False, **options: Any) -> Run:
        if not from_nothing and not directory.exists():
            prepare(directory / "postgres")
        runs.append(Run(directory, **options))
        return runs[-1]

    yield begin
    end(runs)


def end(runs: list[Run]) -> None:
    """Kill runs in one directory, and all that they have started; remove their files."""
    for run in runs:
        run.process.kill()
        run.process.wait()
    if runs:
        children.end(runs[-1].remains(), [(signal.SIGKILL, 10.0)])
        shutil.rmtree(runs[-1].directory, ignore_errors=True)


def shown_lines(run: Run) -> list[str]:
    return eventually(lambda: re.findall(r"^  (curl .*)$", run.text(), re.M), about="the lines to try")


def test_it_starts_from_nothing_and_the_lines_it_prints_work(running: Run) -> None:
    found = running.ready()
    assert found["base_url"] == f"http://127.0.0.1:{running.port}"
    assert set(found["pids"]) == PROGRAMS
    assert stat.S_IMODE((running.directory / "dev.json").stat().st_mode) == 0o600
    with psycopg.connect(found["database_url"]) as connection:
        assert connection.execute("SELECT count(*) FROM workspaces").fetchone() == (1,)
    with redis.Redis.from_url(found["redis_url"]) as client:
        assert client.ping()

    lines = shown_lines(running)
    assert len(lines) == 5
    printed = [output_of(line) for line in lines]
    assert json.loads(printed[0])["secret"].startswith("whsec_")
    assert json.loads(printed[1])["seq"] == 1
    assert len(json.loads(printed[2])["data"]) == 1
    assert "# HELP" in printed[3]
    assert "event: call.barge_in\nid: 1\n" in printed[4]


def output_of(line: str) -> str:
    """What a printed line shows; a stream, which stays open, is left after a moment."""
    shown = subprocess.run([*shlex.split(line), "--max-time", "3"], capture_output=True, text=True, check=False)
    assert shown.returncode == (28 if "/live" in line else 0), (line, shown)  # 28: curl's own time limit
    return shown.stdout


def test_each_run_goes_on_where_the_one_before_was_ended_by_ctrl_c_or_killed(start: Callable[..., Run]) -> None:
    run = start()
    before = run.ready()
    run.process.send_signal(signal.SIGINT)
    assert run.ended() == 0, run.text()
    assert run.remains() == []
    assert run.described() is None

    second = start(PORT=run.port)
    following = second.ready()
    for name in ("base_url", "platform_key", "workspace_id", "workspace_key", "database_url", "redis_url"):
        assert following[name] == before[name]
    second.process.kill()

    third = start(PORT=run.port)
    found = third.ready()
    assert set(found["pids"]) == PROGRAMS
    os.kill(found["pids"]["worker"], signal.SIGSTOP)
    third.process.send_signal(signal.SIGINT)
    eventually(lambda: "Stopping." in third.text(), about=third.text)
    assert third.process.poll() is None

    def interrupted() -> bool:
        third.process.send_signal(signal.SIGINT)
        return third.process.poll() is not None

    # A second Ctrl-C does not wait for what hangs. Two within half a second count as one: a Ctrl-C may arrive twice.
    eventually(interrupted, 15, about=third.text, poll_seconds=0.6)
    assert third.remains() == []


def test_a_run_ends_when_what_started_it_is_killed(start: Callable[..., Run], tmp_path: Path) -> None:
    # A shell that waits, as make does.
    run = start(parent=["/bin/sh", "-c", '"$@"; exit', "sh"])
    eventually(run.described, READY_SECONDS, about=run.text)
    run.process.kill()
    eventually(lambda: run.remains() == [], READY_SECONDS, about="all ended")


def test_dead_processes_are_started_again(running: Run) -> None:
    run, found = running, running.ready()
    for pid in found["pids"].values():
        os.kill(pid, signal.SIGKILL)

    def all_new() -> bool:
        now = run.described()
        return (
            now is not None
            and set(now["pids"]) == PROGRAMS
            and not set(now["pids"].values()) & set(found["pids"].values())
        )

    eventually(all_new, READY_SECONDS, about=run.text)
    eventually(lambda: is_ready(found["base_url"]), READY_SECONDS, about=run.text)
    assert run.process.poll() is None
    for name in PROGRAMS:
        assert f"{name} has ended (SIGKILL). Starting it again" in run.text()


def test_a_taken_port_is_a_clear_message(start: Callable[..., Run]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = start(from_nothing=True, PORT=str(port))
        assert run.ended() == 1
    assert f"Port {port} cannot be used: Address already in use" in run.text()
    assert f"PORT={port + 1} make run" in run.text()
    assert "Traceback" not in run.text()
    assert run.remains() == []


def test_a_second_run_in_the_same_place_is_refused_and_disturbs_nothing(running: Run) -> None:
    found = running.ready()
    second = Run(running.directory, shown=".second")
    try:
        assert second.ended() == 1
    finally:
        second.process.kill()
    assert f"already running here (process {running.process.pid})" in second.text()
    assert running.process.poll() is None
    assert running.described() == found
    assert is_ready(found["base_url"])


def test_engines_of_ones_own_are_used_instead(
    start: Callable[..., Run], new_database: Callable[[], str], redis_url: str, directory: Path
) -> None:
    database_url = new_database()
    run = start(from_nothing=True, DATABASE_URL=database_url, REDIS_URL=redis_url)
    found = run.ready()
    assert (found["database_url"], found["redis_url"]) == (database_url, redis_url)
    assert set(found["pids"]) == PROGRAMS - {"postgres", "redis"}
    assert not (directory / "postgres").exists()


# A setting that makes no sense, and what is said of it.
SENSELESS = [
    ({"PORT": "http"}, "PORT is 'http'; give a number"),
    ({"PORT": "70000"}, "PORT is '70000'; give a number"),
    ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "DATABASE_URL is set, but PostgreSQL there"),
    ({"SECRET_KEY": "short"}, "SECRET_KEY is shorter than 32 characters"),
    ({"RETENTION_DAYS": "never"}, "RETENTION_DAYS is 'never'"),
    ({"CONTRACTS_DIR": "/nowhere"}, "CONTRACTS_DIR is /nowhere, which is not a folder"),
]
# Each line of its input is an environment, for a process of its own: to import everything takes them longest.
FORKING = """
import json, os, sys
from app.local.run import main
for line in sys.stdin:
    if not (child := os.fork()):
        os.environ |= json.loads(line)
        sys.exit(main([]))
    print(f"ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", file=sys.stderr, flush=True)
"""


def test_settings_that_make_no_sense_end_it_with_a_message(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        cwd=ROOT,
        env=environment({"TWOFOLD_VAR": str(directory), "PORT": str(free_port())}),
        input="".join(f"{json.dumps(env)}\n" for env, _ in SENSELESS),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=True,
    )
    *told, rest = done.stdout.split("ended with 1\n")
    assert (len(told), rest) == (len(SENSELESS), ""), done.stdout
    for text, (_, said) in zip(told, SENSELESS, strict=True):
        assert said in text
        assert "Traceback" not in text
    assert [*children.marked(directory), *servers_in(directory)] == []


def test_webhooks_may_reach_this_machine_unless_the_environment_decides(tmp_path: Path) -> None:
    place = Place(tmp_path, "", 8000)
    secret = {"SECRET_KEY": "0123456789abcdef" * 2}
    assert child_environment(secret, place, {})["ALLOW_SUBNETS"] == "127.0.0.0/8,::1/128"
    assert child_environment(secret | {"ALLOW_SUBNETS": ""}, place, {})["ALLOW_SUBNETS"] == ""
    assert child_environment(secret | {"PYTHONWARNINGS": "error"}, place, {})["PYTHONWARNINGS"].startswith(
        "error,ignore:"
    )
    assert child_environment(secret | {"ALLOW_SUBNETS": "10.0.0.0/8"}, place, {})["ALLOW_SUBNETS"] == "10.0.0.0/8"


def test_the_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    place = Place(tmp_path, "", 8000)
    first = child_environment({}, place, {})["SECRET_KEY"]
    assert len(first) >= 32
    assert child_environment({}, place, {})["SECRET_KEY"] == first
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
