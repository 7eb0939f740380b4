"""The worker as Celery runs it: it delivers by itself, comes back from outages, and stops without losing anything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis

from app.database.connection import Database
from app.delivery.wake import Wake
from app.local.embedded import EmbeddedRedis
from app.settings import Settings
from tests.conftest import REDIS_FOR_SERVERS, _environ, _redis_of
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World
from tests.processes import LINES, ROOT, START_SECONDS, RunningProcess, environment, eventually, free_port, start_worker

Start = Callable[..., RunningProcess]


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts a worker with this test's database and Redis."""
    started: list[RunningProcess] = []

    def go(**changed: str) -> RunningProcess:
        started.append(start_worker(environment({**environ, **changed}), tmp_path / f"worker{len(started)}.log"))
        return started[-1]

    yield go
    for process in started:
        process.kill_all()
        print(process.log_text()[-4000:])  # shown when the test fails


@pytest.fixture(scope="module")
def running(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The settings of a worker that runs for all tests that leave it running."""
    env = _environ(new_database(), _redis_of(redis_server.url, next(REDIS_FOR_SERVERS)))
    worker = start_worker(environment(env), tmp_path_factory.mktemp("worker") / "worker.log")
    yield env
    assert worker.stop() == 0


@pytest.fixture
def beside(running: dict[str, str]) -> Iterator[World]:
    """A workspace of its own, with that worker."""
    database = Database(running["DATABASE_URL"])
    found = World(database, Settings.from_env(running))
    yield found
    found.close()
    assert found.contradictions() == []
    database.close()


def slowly(seconds: float) -> Callable[[ScriptedServer, socket.socket, Seen], bytes]:
    def script(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> bytes:
        server.over.wait(seconds)
        return OK

    return script


def pool(process: RunningProcess) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def standbys(process: RunningProcess) -> list[psutil.Process]:
    running = []
    for child in pool(process):
        with suppress(psutil.Error):  # it has ended, and its parent has not looked yet
            if "workers.standby" in child.cmdline():
                running.append(child)
    return running


def delivered(world: World, count: int, endpoint_id: str | None = None) -> bool:
    return world.statuses(endpoint_id) == {"delivered": count}


def test_it_delivers_without_being_rung_and_at_once_when_it_is(beside: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = beside.endpoint(receiver.url)
        beside.publish()
        eventually(lambda: delivered(beside, 1, endpoint_id), 5)
        wake = Wake(beside.settings.redis_url)
        waits = []
        for count in range(2, 7):
            started = time.monotonic()
            beside.publish()
            wake.ring()
            eventually(lambda count=count: delivered(beside, count, endpoint_id), 5, poll_seconds=0.005)
            waits.append(time.monotonic() - started)
        wake.close()
        assert sorted(waits)[2] < 0.5


@pytest.mark.parametrize("everybody", [False, True], ids=["the parent alone", "the whole group"])
def test_sigterm_lets_what_is_in_flight_end_and_claims_no_more(world: World, start: Start, everybody: bool) -> None:
    with ScriptedServer(slowly(1.5)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        worker = start()
        world.publish(40)
        eventually(lambda: len(receiver.seen) >= 4)
        if everybody:
            os.killpg(worker.pid, signal.SIGTERM)
        assert worker.stop() == 0
        sent = len(receiver.seen)
    assert sent < 40
    assert world.statuses(endpoint_id) == {"delivered": sent, "pending": 40 - sent}
    assert {row.lease_token for row in world.deliveries()} == {None}
    assert "Traceback" not in worker.log_text()
    assert "WorkerLostError" not in worker.log_text()


def test_a_cold_shutdown_ends_too(world: World, start: Start) -> None:
    with ScriptedServer(slowly(3)) as receiver:
        world.endpoint(receiver.url)
        worker = start(SEND_TOTAL_SECONDS="5")
        world.publish()
        eventually(lambda: receiver.seen)
        worker.send_signal(signal.SIGQUIT)
        eventually(lambda: worker.status is not None, 15)


def test_a_killed_process_costs_its_deliveries_a_lease_and_nothing_else(world: World, start: Start) -> None:
    with ScriptedServer(slowly(30)) as hanging, ScriptedServer(answering(OK)) as receiver:
        kinds = ["call.one", "call.two", "call.three"]  # an endpoint that has not answered has one in flight
        endpoint_ids = [world.endpoint(hanging.url, event_types=[kind]) for kind in kinds]
        worker = start(SEND_TOTAL_SECONDS="3", LEASE_SECONDS="5")
        for kind in kinds:
            world.publish(type=kind)
        eventually(lambda: len(hanging.seen) == 3)
        for endpoint_id in endpoint_ids:
            world.change(endpoint_id, url=receiver.url)
        for child in pool(worker):
            child.kill()
        eventually(lambda: delivered(world, 3), 15)
        ids = {seen.header("webhook-id") for seen in hanging.seen}
        assert {seen.header("webhook-id") for seen in receiver.seen} == ids
        assert len(hanging.seen) == len(receiver.seen) == 3  # so each was claimed twice
    assert {row.attempt_count for row in world.deliveries()} == {1}


def test_with_redis_flushed_again_and_again_deliveries_go_on(beside: World) -> None:
    with ScriptedServer(answering(OK)) as receiver, redis.Redis.from_url(beside.settings.redis_url) as client:
        endpoint_id = beside.endpoint(receiver.url)
        for count in range(1, 6):
            beside.publish()
            client.flushall()
            eventually(lambda count=count: delivered(beside, count, endpoint_id), 4)


def test_while_redis_is_away_deliveries_go_on_and_the_standby_goes_when_it_is_back(
    world: World, environ: dict[str, str], engine_directory: Path, tmp_path: Path
) -> None:
    engine = EmbeddedRedis(engine_directory / "away")
    engine.start()
    env = environment({**environ, "REDIS_URL": engine.url})
    worker = start_worker(env, tmp_path / "worker.log")
    try:
        with ScriptedServer(answering(OK)) as receiver:
            world.endpoint(receiver.url)
            for time_away in (1, 2):
                engine.stop()
                for count in (1, 2, 3):
                    world.publish()
                    # Where no drain stands, a standby begins after 5 to 10 s.
                    eventually(lambda count=3 * time_away - 3 + count: delivered(world, count), 15)
                assert len(standbys(worker)) <= 1  # none while the turn of the drain at the doorbell lasts
                engine.start()
                eventually(lambda: not standbys(worker), 15)
            world.publish()
            eventually(lambda: delivered(world, 7), 5)
            assert worker.stop() == 0
        assert "Traceback" not in worker.log_text()
    finally:
        worker.kill_all()
        engine.stop()


def test_when_every_pool_process_is_frozen_a_standby_delivers_and_goes_when_they_are_back(
    world: World, start: Start
) -> None:
    """Redis is healthy and takes every ring: only the work that is not done shows that something is wrong."""
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        worker = start()
        world.publish()
        eventually(lambda: delivered(world, 1), 5)
        frozen = pool(worker)
        for child in frozen:
            child.suspend()
        started = time.monotonic()
        world.publish()
        eventually(lambda: delivered(world, 2), 15)
        print(f"delivered after {time.monotonic() - started:.1f} s")
        assert len(standbys(worker)) == 1
        assert "no pool process has looked" in worker.log_text()
        for count in (3, 4):
            world.publish()
            eventually(lambda count=count: delivered(world, count), 5)
        for child in frozen:
            child.resume()
        eventually(lambda: not standbys(worker), 20)
        world.publish()
        eventually(lambda: delivered(world, 5), 5)
        assert len(receiver.seen) == 5
        assert worker.stop() == 0


def without_redis(environ: dict[str, str], tmp_path: Path, **changed: str) -> RunningProcess:
    env = environment({**environ, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", **changed})
    return RunningProcess("worker", LINES["worker"], env, tmp_path / "worker.log")


def test_a_worker_that_starts_without_redis_delivers_and_ends_what_is_in_flight(
    world: World, environ: dict[str, str], tmp_path: Path
) -> None:
    with ScriptedServer(slowly(1.5)) as receiver:
        world.endpoint(receiver.url)
        worker = without_redis(environ, tmp_path)
        try:
            world.publish(40)
            eventually(lambda: len(receiver.seen) >= 4, 2 * START_SECONDS)  # the worker starts, then its standby
            [standby] = standbys(worker)
            assert worker.stop() == 0
            sent = len(receiver.seen)
            assert not standby.is_running()
        finally:
            worker.kill_all()
    assert sent < 40
    assert world.statuses() == {"delivered": sent, "pending": 40 - sent}
    assert {row.lease_token for row in world.deliveries()} == {None}


def test_a_standby_outlives_neither_its_worker_nor_its_own_death(
    world: World, environ: dict[str, str], tmp_path: Path
) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        worker = without_redis(environ, tmp_path)
        try:
            world.publish()
            eventually(lambda: delivered(world, 1), 2 * START_SECONDS)  # the worker starts, then its standby
            standbys(worker)[0].kill()
            world.publish()
            eventually(lambda: delivered(world, 2), START_SECONDS)
            [standby] = standbys(worker)
            worker.send_signal(signal.SIGKILL)
            eventually(lambda: not standby.is_running() or standby.status() == psutil.STATUS_ZOMBIE, 10)
        finally:
            worker.kill_all()


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_settings_that_make_no_sense_are_refused_in_plain_words(environ: dict[str, str], name: str) -> None:
    env = environment({**environ, "SECRET_KEY": "short", "LEASE_SECONDS": "soon"})
    done = subprocess.run(
        ["/bin/sh", "-c", LINES[name]],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "SECRET_KEY is shorter than 32 characters" in done.stderr
    assert "LEASE_SECONDS is 'soon', which is not a whole number" in done.stderr


def test_housekeeping_runs_as_a_task(beside: World, running: dict[str, str]) -> None:
    beside.sql("INSERT INTO idempotent_requests VALUES ('o', 'k', '', 200, '', now() - interval '9 days')")
    program = "from workers.celery_app import app; app.send_task('housekeeping')"
    subprocess.run(["python", "-c", program], cwd=ROOT, env=environment(running), check=True, timeout=START_SECONDS)
    eventually(lambda: beside.one("SELECT count(*) FROM idempotent_requests") == 0)
