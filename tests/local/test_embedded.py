"""The embedded engines keep their data, end with their parent, and forgive how they ended last time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.local.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis, EmbeddedServer
from tests.prepared import Prepare
from tests.processes import ROOT, eventually


@pytest.fixture
def directory(engine_directory: Path, request: pytest.FixtureRequest) -> Path:
    return engine_directory / f"{request.node.originalname}-{os.urandom(4).hex()}"


@pytest.fixture(params=[EmbeddedPostgres, EmbeddedRedis], ids=["postgres", "redis"])
def engine(request: pytest.FixtureRequest, directory: Path, prepare: Prepare) -> Iterator[EmbeddedServer]:
    if request.param is EmbeddedPostgres:
        prepare(directory)
    found: EmbeddedServer = request.param(directory)
    yield found
    found.stop()


@pytest.fixture
def running(directory: Path, prepare: Prepare) -> Iterator[EmbeddedPostgres]:
    """One that runs, and has been stopped before."""
    prepare(directory)
    found = EmbeddedPostgres(directory)
    found.start()
    yield found
    found.stop()


def answers(engine: EmbeddedServer) -> bool:
    if isinstance(engine, EmbeddedPostgres):
        with psycopg.connect(engine.url) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    with redis.Redis.from_url(engine.url) as client:
        return bool(client.ping())


def again(engine: EmbeddedServer) -> EmbeddedServer:
    """As another process would see it."""
    return type(engine)(engine.directory)


def change_state(engine: EmbeddedServer, **values: float) -> None:
    path = engine.directory / "server.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def pid_of(engine: EmbeddedServer) -> int:
    assert engine.process is not None
    return engine.process.pid


def test_it_answers_then_stops_and_leaves_no_process(engine: EmbeddedServer) -> None:
    engine.start()
    process = psutil.Process(pid_of(engine))
    family = [process, *process.children(recursive=True)]
    assert answers(engine)
    engine.stop()
    assert [member for member in family if member.is_running()] == []


def test_it_listens_on_this_machine_only(engine: EmbeddedServer) -> None:
    engine.start()
    listening = [
        found.laddr.ip for found in psutil.Process(pid_of(engine)).net_connections() if found.status == "LISTEN"
    ]
    assert listening == ["127.0.0.1"]


def test_it_asks_for_a_password_that_only_the_owner_can_read(engine: EmbeddedServer) -> None:
    engine.start()
    assert stat.S_IMODE((engine.directory / "server.json").stat().st_mode) == 0o600
    without = engine.url.replace(engine.url.split(":")[2].split("@")[0], "guess")
    if isinstance(engine, EmbeddedPostgres):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(without)
    else:
        with redis.Redis.from_url(without) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_a_second_start_has_the_same_address(engine: EmbeddedServer) -> None:
    first = engine.start()
    engine.stop()
    second = again(engine)
    try:
        assert second.start() == first
    finally:
        second.stop()


def test_a_second_start_finds_the_data(directory: Path) -> None:
    for statement in ("CREATE TABLE kept AS SELECT 7 AS number", "SELECT number FROM kept"):
        engine = EmbeddedPostgres(directory)
        engine.start()
        with psycopg.connect(engine.url) as connection:
            cursor = connection.execute(statement)
            found = cursor.fetchone() if cursor.description else None
        engine.stop()
    assert found == (7,)


def test_committed_data_survive_a_kill_of_the_server(running: EmbeddedPostgres, directory: Path) -> None:
    with psycopg.connect(running.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    killed = psutil.Process(pid_of(running))
    killed.kill()
    # Dead, but not waited for: its pid still exists.
    eventually(lambda: killed.status() == psutil.STATUS_ZOMBIE)
    following = EmbeddedPostgres(directory)
    following.start()
    with psycopg.connect(following.url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    following.stop()


def test_it_ends_when_its_parent_is_killed(engine: EmbeddedServer) -> None:
    program = (
        "import os, sys, pathlib, app.local.embedded as embedded\n"
        f"engine = embedded.{type(engine).__name__}(pathlib.Path(sys.argv[1]))\n"
        "engine.start()\n"
        "print(engine.process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(engine.directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    eventually(lambda: not psutil.pid_exists(pid), about="the engine's end")


def test_a_server_that_a_killed_run_left_is_ended_first(
    engine: EmbeddedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.start()
    left = pid_of(engine)
    following = again(engine)
    try:
        following.start()
        assert f"(pid {left})" in capfd.readouterr().out
        assert answers(following)
        assert engine.process is not None
        assert engine.process.wait(5) is not None
    finally:
        following.stop()


def test_a_recorded_pid_that_is_now_another_process_is_left_alone(engine: EmbeddedServer) -> None:
    engine.start()
    engine.stop()
    with subprocess.Popen(["sleep", "100"]) as stranger:
        change_state(engine, pid=stranger.pid, began_at=1e9)
        following = again(engine)
        following.start()
        following.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_pid_file_that_names_another_process_does_not_block(running: EmbeddedPostgres, directory: Path) -> None:
    pid_file = directory / "data" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    os.kill(pid_of(running), signal.SIGKILL)
    running.stop()
    with subprocess.Popen(["sleep", "100"], user=running.user.uid if running.user else None) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))
        following = EmbeddedPostgres(directory)
        following.start()
        following.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_set_up_that_was_cut_short_starts_over(directory: Path) -> None:
    fresh = directory / "data.new"
    fresh.mkdir(parents=True)
    (fresh / "PG_VERSION").write_text("18\n")
    engine = EmbeddedPostgres(directory)
    engine.start()
    assert answers(engine)
    engine.stop()


def test_a_taken_port_is_exchanged_for_a_free_one(engine: EmbeddedServer) -> None:
    first = engine.start()
    second = type(engine)(engine.directory.with_name(f"{engine.directory.name}-2"))
    second.directory.mkdir()
    # As if the port that it had before now belonged to somebody else.
    shutil.copy(engine.directory / "server.json", second.directory)
    change_state(second, pid=0)
    try:
        assert second.start() != first
        assert answers(second)
    finally:
        second.stop()
    assert answers(engine)


def test_data_without_their_password_are_explained(running: EmbeddedPostgres, directory: Path) -> None:
    running.stop()
    (directory / "server.json").unlink()
    with pytest.raises(EmbeddedError, match=r"another password than server\.json"):
        EmbeddedPostgres(directory).start()


def test_a_place_that_cannot_hold_data_is_named(engine_directory: Path) -> None:
    file = engine_directory / f"file-{os.urandom(4).hex()}"
    file.write_text("not a directory")
    with pytest.raises(EmbeddedError, match=f"PostgreSQL cannot use {file}"):
        EmbeddedPostgres(file / "postgres").start()


def test_damaged_data_are_reported_with_the_servers_own_words(running: EmbeddedPostgres, directory: Path) -> None:
    running.stop()
    (directory / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedError, match=r"did not start:(.|\n)*pg_control"):
        EmbeddedPostgres(directory).start()
