"""The `twofold` command: what it names, what it imports, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version

import click
import psycopg
import pytest

from app.accounts import keys, users
from app.accounts.callers import Callers
from app.cli.command import Status
from app.cli.keys import SCOPES
from app.cli.main import main, root
from app.cli.users import ROLES
from app.database.connection import Database
from tests.cli.conftest import OddServer, Run
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
# What takes long to import, and is of no use to somebody who asks for help.
HEAVY = ("alembic", "celery", "flask", "gevent", "gunicorn", "psycopg", "redis", "requests", "rich", "sqlalchemy")


@pytest.fixture
def _database(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


def every_command(group: click.Group = root, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*words, name))


COMMANDS = list(every_command())


@pytest.mark.usefixtures("_database")
def test_a_made_key_works(run: Run, database: Database) -> None:
    ended = run("keys", "create", "--name", "producer", "--scopes", "publish, subscribe")
    assert ended.status == 0
    caller = Callers(database).authenticate(json.loads(ended.out)["key"])
    assert caller is not None
    assert caller.is_platform
    assert caller.scopes == {"publish", "subscribe"}


@pytest.mark.usefixtures("_database")
def test_a_workspaces_key_belongs_to_it(run: Run, database: Database) -> None:
    # By the names that these commands had at first.
    workspace = json.loads(run("workspace", "create", "--uid", "acme", "--name", "Acmé").out)
    assert (workspace["uid"], workspace["name"]) == ("acme", "Acmé")
    made = json.loads(run("key", "create", "--name", "own", "--workspace", "acme").out)
    caller = Callers(database).authenticate(made["key"])
    assert caller is not None
    assert caller.workspace_id == workspace["id"]


@pytest.mark.usefixtures("_database")
@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["keys", "create", "--name", "x", "--workspace", "nobody"], Status.NOT_FOUND, "there is no workspace nobody"),
        (["keys", "create", "--name", "x", "--scopes", "everything"], Status.REFUSED, "give one or more of publish"),
        (["workspaces", "create", "--uid", "ws_1", "--name", "x"], Status.REFUSED, "must not start with ws_"),
    ],
)
def test_what_cannot_be_made_is_explained(run: Run, argv: list[str], status: Status, said: str) -> None:
    ended = run(*argv)
    assert (ended.status, ended.out) == (status, "")
    assert said in ended.err


@pytest.mark.usefixtures("_database")
def test_partitions_names_the_new_ones_once(run: Run, database_url: str) -> None:
    ended = run("partitions")
    assert (ended.status, ended.out) == (0, "")
    with psycopg.connect(database_url) as connection:
        last = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'attempts'::regclass ORDER BY 1"
        ).fetchall()[-1][0]
        connection.execute(f"DROP TABLE {last}")
    ended = run("partitions")
    assert (ended.status, ended.out) == (0, f"{last}\n")


def test_without_a_database_url_it_says_where_to_find_one(run: Run) -> None:
    ended = run("partitions")
    assert ended.status == 1
    assert "DATABASE_URL is not set" in ended.err


def test_an_unreachable_database_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    ended = run("partitions")
    assert ended.status == 3
    assert re.fullmatch(r"twofold: .*refused.*\n", ended.err)


def test_help_names_every_command_and_so_does_the_page(run: Run) -> None:
    ended = run("--help")
    assert ended.status == 0
    names = [words[0] for words in COMMANDS if len(words) == 1]
    assert [name for name in names if not re.search(rf"^  {name}\b", ended.out, re.MULTILINE)] == []
    first_cells = " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))
    assert [name for name in names if f"`{name}`" not in first_cells] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_refuses_what_it_does_not_know(words: tuple[str, ...], run: Run) -> None:
    helped = run(*words, "--help")
    assert helped.status == 0
    assert helped.out.startswith(f"Usage: twofold {' '.join(words)}")
    if words[0] not in ("migrate", "web", "worker", "beat"):  # what these do not know is their program's
        wrong = run(*words, "--no-such-option")
        assert (wrong.status, wrong.out) == (2, "")
        assert "--no-such-option" in wrong.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "Usage: twofold"),
        (["keys"], "Usage: twofold keys"),
        (["delivery"], "No such command 'delivery'. Did you mean"),
        (["partitions", "extra"], "unexpected extra argument"),
        (["deliveries", "list", "--status", "lost"], "'lost' is not one of 'pending'"),
        (["deliveries", "list", "--since", "yesterday"], "or how long ago, such as 30m, 2h or 7d"),
        (["deliveries", "list", "--limit", "-1"], "not in the range"),
        (["deliveries", "list", "--event", "evt_1", "--type", "x"], "--event goes with --status"),
        (["events", "list", "--after", "3"], "--after needs --stream"),
        (["endpoints", "create", "http://a/", "--header", "X"], "'X' is not a header"),
        (["endpoints", "create", "http://a/", "--batch-wait", "5"], "--batch-wait goes with --batch"),
        (["publish"], "give FILE (- is standard input), or --data"),
        (["publish", "--data", "{}"], "--data needs --stream and --type"),
        (["publish", "--data", "{", "--stream", "call/1", "--type", "x"], "is not JSON"),
        (["publish", "--data", "{}", "--stream", "call", "--type", "x"], "'call' is not a stream"),
        (["publish", "/no/such/file"], "No such file"),
        (["tail"], "give KIND/ID of a stream, or --deliveries"),
        (["tail", "call/1", "--status", "failed"], "are for --deliveries"),
        (["tail", "--deliveries", "--after", "1"], "--after is for a stream"),
        (["tail", "call/1", "--after", "latest"], "--after of a stream is the seq of an event"),
        (["tail", "call/1", "call/2"], "or --feed"),
        (["tail", "--feed", "--deliveries"], "or --feed"),
        (["tail", "call/1", "--kind", "call"], "--kind and --filter are for --feed"),
        (["streams", "show", "call"], "'call' is not a stream"),
        (["lanes", "skip", "ep_1", "call"], "'call' is not a stream"),
        (["feed", "page", "call"], "'call' is not a stream"),
        (["feed", "page", "--wait", "31"], "not in the range"),
        (["recover", "ep_1"], "Missing option '--since'"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["up", "--port", "99999"], "not in the range"),
    ],
)
def test_wrong_arguments_are_named(odd_server: OddServer, run: Run, argv: list[str], said: str) -> None:
    ended = run(*argv)
    assert (ended.status, ended.out) == (2, "")
    assert said in " ".join(ended.err.split())
    assert odd_server.asked == []


@pytest.mark.parametrize(
    "argv",
    [
        ("endpoints", "delete", "ep_1"),
        ("keys", "revoke", "key_1"),
        ("consumers", "delete", "billing"),
        ("workspaces", "delete", "acme"),
    ],
)
def test_what_cannot_be_undone_is_asked_about(
    odd_server: OddServer, run: Run, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    assert run(*argv).status == Status.INTERRUPTED
    assert odd_server.asked == []
    odd_server.answers = [(204, {}, b"")]
    assert run(*argv, "--yes").status == 0
    assert odd_server.asked[0][0] == "DELETE"


def test_the_version_is_the_distributions(run: Run) -> None:
    assert run("--version").out == f"twofold {version('twofold-server')}\n"


def test_the_names_that_are_here_for_a_quick_start_are_the_accounts() -> None:
    assert tuple(keys.SCOPES) == SCOPES
    assert sorted(ROLES) == sorted(users.ROLES)


def test_the_page_has_every_status() -> None:
    table = PAGE[PAGE.index("## Exit statuses") :]
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [*map(int, Status)]


def test_the_console_script_is_this_function() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["name"] == "twofold-server"
    module, _, function = project["project"]["scripts"]["twofold"].partition(":")
    assert getattr(import_module(module), function) is main


def test_help_and_completion_import_next_to_nothing() -> None:
    program = (
        "import sys; from app.cli.main import main; main(['--help']); main(['publish', '--help']);"
        f"main(['tail', '--help']); main(['keys', '--help']); found = sorted({{*sys.modules}} & {{*{HEAVY!r}}});"
        "print('imported:', *found)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"
    asked = {"_TWOFOLD_COMPLETE": "bash_complete", "COMP_WORDS": "twofold de", "COMP_CWORD": "1"}
    program = (
        f"import sys; from app.cli.main import main\ntry: main([])\nfinally: print(*{{*sys.modules}} & {{*{HEAVY!r}}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["plain,deliveries", ""]


def test_a_reader_who_has_gone_is_no_error() -> None:
    command = [sys.executable, "-m", "app.cli", "zoo", "--list"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (Status.CLOSED_PIPE, "")


def test_ctrl_c_ends_a_command_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.cli.profiles.read", interrupted)
    ended = run("profile", "list")
    assert (ended.status, ended.out, ended.err.strip()) == (Status.INTERRUPTED, "", "")


@pytest.mark.parametrize(("shell", "holds"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --no")])
def test_a_shell_gets_its_script(run: Run, shell: str, holds: str) -> None:
    ended = run("completion", shell)
    assert ended.status == 0
    assert holds in ended.out
    assert "_TWOFOLD_COMPLETE" in ended.out
