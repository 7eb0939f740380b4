"""`twofold user`: people for the console, made and changed by whoever has the database."""

from __future__ import annotations

import io
import json

import pytest

from app.accounts import audit, passwords, users
from app.cli.command import Status
from app.cli.main import main
from app.database.connection import Database

PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _database(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(["user", *argv])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def matches(database: Database, name: str, password: str) -> bool:
    with database.begin() as connection:
        found = users.find_user(connection, name)
    assert found is not None
    return passwords.matches(password, found[1])


def test_a_user_gets_a_password_that_is_printed_once(capsys: pytest.CaptureFixture[str], database: Database) -> None:
    status, out, _ = run(capsys, "create", "Ana@Example.com", "--role", "operator")
    made = json.loads(out)
    assert (status, made["name"], made["role"]) == (0, "ana@example.com", "operator")
    assert matches(database, "ana@example.com", made["password"])
    _, listed, _ = run(capsys, "list")
    assert listed.splitlines()[1].split() == ["ana@example.com", "operator", "enabled", "0"]


def test_a_given_password_is_not_printed_and_a_new_one_ends_the_sessions(
    capsys: pytest.CaptureFixture[str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    status, out, _ = run(capsys, "create", "vic", "--password-stdin")
    assert (status, PASSWORD in out, json.loads(out)["role"]) == (0, False, "viewer")
    assert matches(database, "vic", PASSWORD)
    with database.begin() as connection:
        users.begin_session(connection, users.get_user(connection, "vic").id)
    assert run(capsys, "list")[1].endswith("  1\n")
    _, out, _ = run(capsys, "password", "vic")
    assert matches(database, "vic", json.loads(out)["password"])
    assert run(capsys, "list")[1].endswith("  0\n")


def test_a_user_is_shown_by_id_or_name_with_nothing_of_the_password(
    capsys: pytest.CaptureFixture[str], database: Database
) -> None:
    made = json.loads(run(capsys, "create", "ana@example.com")[1])
    with database.begin() as connection:
        users.begin_session(connection, made["id"])
    run(capsys, "create", "bob")
    run(capsys, "disable", "bob")
    _, out, _ = run(capsys, "show", made["id"], "--json")
    shown = json.loads(out)
    assert (shown["name"], shown["status"], shown["sessions"]) == ("ana@example.com", "enabled", 1)
    assert {*shown} == {"id", "name", "role", "status", "sessions", "created_at", "disabled_at"}
    assert json.loads(run(capsys, "list", "--json")[1].splitlines()[0]) == shown
    assert json.loads(run(capsys, "show", " Ana@Example.com", "--json")[1]) == shown
    status, out, _ = run(capsys, "show", "bob")
    assert (status, out.splitlines()[1].split(), out.splitlines()[3].split()) == (
        0,
        ["name", "bob"],
        ["status", "disabled"],
    )
    assert run(capsys, "show", "nobody") == (5, "", "twofold: There is no user nobody.\n")


def test_an_id_wins_over_a_name_that_looks_like_it(capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(run(capsys, "create", "ana")[1])
    run(capsys, "create", made["id"])
    assert json.loads(run(capsys, "show", made["id"], "--json")[1])["name"] == "ana"


def test_a_user_is_disabled_enabled_and_given_another_role_and_each_is_written_down(
    capsys: pytest.CaptureFixture[str], database: Database
) -> None:
    run(capsys, "create", "vic")
    for argv, shown in (
        (("disable", "vic"), "vic  viewer  disabled"),
        (("enable", "vic"), "vic  viewer  enabled"),
        (("role", "vic", "operator"), "vic  operator  enabled"),
    ):
        assert run(capsys, *argv)[0] == 0
        assert run(capsys, "list")[1].splitlines()[1].split()[:3] == shown.split()
    with database.begin() as connection:
        written = [(entry.actor, entry.action, entry.target) for entry in audit.entries(connection, limit=9)]
    assert written == [
        ("command line", action, "vic") for action in ("user.role", "user.enable", "user.disable", "user.create")
    ]


@pytest.mark.parametrize(
    ("argv", "typed", "ended", "said"),
    [
        (("create", "vic"), "", Status.REFUSED, "There is a user vic already."),
        (("create", "a b"), "", Status.REFUSED, "name: must have 1 to 100 characters"),
        (("create", "bob", "--password-stdin"), "short\n", Status.REFUSED, "must have 12 to 200 characters"),
        (("create", "bob", "--password-stdin"), "\n", Status.FAILED, "standard input has no password"),
        (("show", "bob"), "", Status.NOT_FOUND, "There is no user bob."),
        (("disable", "bob"), "", Status.NOT_FOUND, "There is no user bob."),
    ],
)
def test_what_cannot_be_done_is_explained(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
    typed: str,
    ended: Status,
    said: str,
) -> None:
    run(capsys, "create", "vic")
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    status, out, err = run(capsys, *argv)
    assert (status, out) == (ended, "")
    assert said in err


def test_a_hash_is_salted_and_says_how_it_was_made() -> None:
    first, second = passwords.hashed(PASSWORD), passwords.hashed(PASSWORD)
    assert first != second
    assert first.startswith("scrypt$32768$8$3$")
    assert passwords.matches(PASSWORD, first)
    assert not passwords.matches(PASSWORD + " ", first)
    assert not passwords.matches(PASSWORD, None)
    assert not passwords.matches("x" * 100_000, first)
