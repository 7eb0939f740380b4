"""The `twofold` command: every subcommand does what it says, and failures are one line that says what to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module

import psycopg
import pytest

from app.accounts.callers import Callers
from app.cli.main import main
from app.database.connection import Database
from tests.processes import ROOT


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def _database(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(argv)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.mark.usefixtures("_database")
def test_a_made_key_works(capsys: pytest.CaptureFixture[str], database: Database) -> None:
    status, out, _ = run(capsys, "key", "create", "--name", "producer", "--scopes", "publish, subscribe")
    assert status == 0
    caller = Callers(database).authenticate(json.loads(out)["key"])
    assert caller is not None
    assert caller.is_platform
    assert caller.scopes == {"publish", "subscribe"}


@pytest.mark.usefixtures("_database")
def test_a_workspaces_key_belongs_to_it(capsys: pytest.CaptureFixture[str], database: Database) -> None:
    _, out, _ = run(capsys, "workspace", "create", "--uid", "acme", "--name", "Acmé")
    workspace = json.loads(out)
    assert (workspace["uid"], workspace["name"]) == ("acme", "Acmé")
    _, out, _ = run(capsys, "key", "create", "--name", "own", "--workspace", "acme")
    caller = Callers(database).authenticate(json.loads(out)["key"])
    assert caller is not None
    assert caller.workspace_id == workspace["id"]


@pytest.mark.usefixtures("_database")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["key", "create", "--name", "x", "--workspace", "nobody"], "there is no workspace nobody"),
        (["key", "create", "--name", "x", "--scopes", "everything"], "give one or more of publish, subscribe"),
        (["workspace", "create", "--uid", "ws_1", "--name", "x"], "must not start with ws_"),
    ],
)
def test_what_cannot_be_made_is_explained(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    status, out, err = run(capsys, *argv)
    assert (status, out) == (1, "")
    assert said in err


@pytest.mark.usefixtures("_database")
def test_partitions_names_the_new_ones_once(capsys: pytest.CaptureFixture[str], database_url: str) -> None:
    assert run(capsys, "partitions")[:2] == (0, "")
    with psycopg.connect(database_url) as connection:
        last = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'attempts'::regclass ORDER BY 1"
        ).fetchall()[-1][0]
        connection.execute(f"DROP TABLE {last}")
    assert run(capsys, "partitions")[:2] == (0, f"{last}\n")


def test_without_a_database_url_it_says_where_to_find_one(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "partitions")
    assert status == 1
    assert "DATABASE_URL is not set" in err


def test_an_unreachable_database_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    status, _, err = run(capsys, "partitions")
    assert status == 1
    assert re.fullmatch(r"twofold: .*refused.*\n", err)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    commands = ("dev", "listen", "migrate", "web", "worker", "beat", "key", "workspace", "partitions")
    assert [name for name in commands if not re.search(rf"^    {name}\b", shown, re.MULTILINE)] == []


def test_an_option_that_no_command_takes_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["partitions", "--concurrency", "8"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --concurrency 8" in capsys.readouterr().err


def test_no_command_is_an_error_that_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "usage: twofold" in capsys.readouterr().err


def test_the_console_script_is_this_parser() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["twofold"].partition(":")
    assert getattr(import_module(module), function) is main
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "commands:" in done.stdout
