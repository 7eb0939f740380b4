"""PostgreSQL's data as initdb and all migrations leave them: made once in a run of the tests, for all of its runners,
and copied to whoever does not test just that. A copy takes 0.1 s of processor time, making them 3 s."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
import psycopg
import pytest
from psycopg import sql

from app.local.embedded import EmbeddedPostgres
from tests.processes import ROOT, environment

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 2 * 2**30  # a session takes some 200 MB
PREFIX = "twofold-tests-"
FOLDER = pytest.StashKey[Path]()
_GIVEN = "prepared"  # under this name a runner is told the folder of its run

# Puts a PostgreSQL that is stopped, and whose database has its tables, into a directory that has none.
Prepare = Callable[[Path], None]


def new_folder() -> Path:
    """For engines' files: in memory where there is room, which makes a new database in 15 ms instead of 150."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    # Not one of pytest's own directories: they are private, and PostgreSQL may run as another user.
    parent = MEMORY if roomy else Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*-*"):
        # Of a session that was killed: it would hold memory until the next boot.
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    folder.chmod(0o711)
    return folder


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get(_GIVEN)
    config.stash[FOLDER] = Path(given) if given else new_folder()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a runner of pytest-xdist, which is about to be started, where the data of all runners are."""
    node.workerinput[_GIVEN] = str(node.config.stash[FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[FOLDER], ignore_errors=True)


@pytest.fixture(scope="session")
def engine_directory() -> Iterator[Path]:
    """For the files of this runner's engines."""
    directory = new_folder()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def prepare(pytestconfig: pytest.Config) -> Prepare:
    """A function that puts a PostgreSQL with tables into a directory, to be started there."""
    folder = pytestconfig.stash[FOLDER]

    def put(directory: Path) -> None:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the first one makes it, the others wait
            if not (folder / "postgres").exists():
                _make(folder / "new").rename(folder / "postgres")
        directory.mkdir(parents=True)
        # -a: as root, with the user as whom PostgreSQL runs.
        subprocess.run(["cp", "-a", f"{folder / 'postgres'}/.", str(directory)], check=True)

    return put


def _make(directory: Path) -> Path:
    engine = EmbeddedPostgres(directory, durable=False)
    env = environment({"DATABASE_URL": engine.start()})
    try:
        assert engine.home == engine.directory, (
            f"PostgreSQL's user cannot pass to {directory}: set TMPDIR to where it can"
        )
        alembic = [sys.executable, "-m", "alembic", "upgrade", "head"]
        done = subprocess.run(alembic, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        _make_connecting_cheap(engine)
    finally:
        engine.stop()
    state = directory / "server.json"
    # Of the rest, each copy is to find a port of its own.
    state.write_text(json.dumps({"password": unquote(urlsplit(engine.url).password or "")}))
    return directory


def _make_connecting_cheap(engine: EmbeddedPostgres) -> None:
    """The password is checked as ever, but for the 4096 rounds that are there to keep a thief from guessing it: they
    take either side milliseconds, and the tests connect ten thousand times."""
    password = unquote(urlsplit(engine.url).password or "")
    with psycopg.connect(engine.url, autocommit=True) as connection:
        connection.execute("SET scram_iterations = 1")
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))
