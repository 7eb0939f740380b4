"""`twofold migrate`, `web`, `worker` and `beat` become the Procfile's programs, wherever they are called from."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import pytest

from app.local import procfile
from app.local.embedded import EmbeddedPostgres
from tests.processes import START_SECONDS, environment, eventually, free_port, handles, is_ready

TWOFOLD = Path(sys.executable).with_name("twofold")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with packages of somebody else's, which have the names of ours."""
    for name in ("app", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('this is the other project')\n")
    return tmp_path


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database without tables."""
    url = urlunsplit(urlsplit(postgres.url)._replace(path="/empty"))
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty")
        yield url
        connection.execute("DROP DATABASE empty WITH (FORCE)")


def started(directory: Path, env: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    with (directory / f"{command[0]}.log").open("wb") as log:
        # The command alone is named by its path: PATH does not lead to the other programs.
        env = environment({**env, "PATH": "/usr/bin:/bin"})
        return subprocess.Popen([TWOFOLD, *command], cwd=directory, env=env, stdout=log, stderr=subprocess.STDOUT)


def test_migrate_makes_the_tables_of_an_empty_database(elsewhere: Path, empty_database: str) -> None:
    assert started(elsewhere, {"DATABASE_URL": empty_database}, "migrate").wait(60) == 0
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT count(*) FROM workspaces").fetchone() == (0,)


def test_a_migration_that_fails_is_its_exit_status(elsewhere: Path) -> None:
    assert started(elsewhere, {}, "migrate").wait(60) == 1
    assert "DATABASE_URL is not set" in (elsewhere / "migrate.log").read_text()


@pytest.mark.parametrize(
    ("command", "further", "program"),
    [("web", [], "gunicorn"), ("worker", ["--concurrency", "1"], "celery"), ("beat", [], "celery")],
)
def test_the_process_is_the_program_and_ends_by_its_signal(
    elsewhere: Path, environ: dict[str, str], command: str, further: list[str], program: str
) -> None:
    port = free_port()
    process = started(elsewhere, {**environ, "PORT": str(port), "WEB_CONCURRENCY": "1"}, command, *further)
    log = elsewhere / f"{command}.log"
    try:
        eventually(lambda: handles(process.pid, signal.SIGTERM), START_SECONDS, about=log.read_text)
        words = psutil.Process(process.pid).cmdline()
        assert Path(words[1]).name == program
        assert words[-len(further) or len(words) :] == further
        if command == "web":
            eventually(lambda: is_ready(f"http://127.0.0.1:{port}"), START_SECONDS, about=log.read_text)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()


def test_help_says_which_line_it_is() -> None:
    for command, line in (("migrate", "release"), ("web", "web"), ("worker", "worker"), ("beat", "beat")):
        shown = subprocess.run([TWOFOLD, command, "--help"], capture_output=True, text=True, check=True).stdout
        assert f"the Procfile's `{line}` line" in " ".join(shown.split())
        assert line in procfile.lines()
