"""Which server a command asks, and the file that remembers servers: its owner alone may read it."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest

from app.cli import profiles
from app.cli.command import CommandError
from app.cli.profiles import Profiles, Server, choose
from tests.cli.conftest import Run

BLUE, RED = Server("https://blue.example", "pk_blue"), Server("https://red.example", "sk_red", "acme")
BOTH = Profiles({"blue": BLUE, "red": RED}, "blue")
SET = {"TWOFOLD_URL": "http://127.0.0.1:8001/", "TWOFOLD_API_KEY": "pk_set"}


@pytest.mark.parametrize(
    ("environ", "asked", "url", "key"),
    [
        ({}, None, BLUE.url, BLUE.key),
        ({}, "red", RED.url, RED.key),
        ({"TWOFOLD_PROFILE": "red"}, None, RED.url, RED.key),
        (SET, None, "http://127.0.0.1:8001", "pk_set"),
        (SET, "red", RED.url, RED.key),
        (SET | {"TWOFOLD_PROFILE": "red"}, None, "http://127.0.0.1:8001", "pk_set"),
    ],
)
def test_the_server_that_is_asked(environ: dict[str, str], asked: str | None, url: str, key: str) -> None:
    found = choose(BOTH, environ, asked)
    assert found is not None
    assert (found.url, found.key) == (url, key)


@pytest.mark.parametrize(
    ("environ", "asked", "said"),
    [
        ({}, "green", "there is no profile 'green' \\(known: blue, red\\)"),
        ({"TWOFOLD_URL": "http://other"}, None, "TWOFOLD_URL is set, but TWOFOLD_API_KEY is not"),
        ({"TWOFOLD_API_KEY": "pk_1"}, None, "TWOFOLD_API_KEY is set, but TWOFOLD_URL is not"),
        (SET | {"TWOFOLD_URL": "other:80"}, None, "'other:80' is not the address of a server"),
    ],
)
def test_a_key_is_never_sent_to_another_server(environ: dict[str, str], asked: str | None, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        choose(BOTH, environ, asked)


def test_without_any_the_local_run_is_asked(tmp_path: Path) -> None:
    assert choose(Profiles(), {}, None) is None
    run = {"base_url": "http://127.0.0.1:8000", "platform_key": "sk_1", "workspace_key": "pk_1"}
    (tmp_path / "dev.json").write_text(json.dumps(run))
    environ = {"TWOFOLD_VAR": str(tmp_path)}
    assert profiles.local_server(environ, platform=False) == Server(run["base_url"], "pk_1", origin="the local run")
    assert profiles.local_server(environ, platform=True) == Server(run["base_url"], "sk_1", origin="the local run")
    (tmp_path / "dev.json").write_text("[]")
    assert profiles.local_server(environ, platform=False) is None


def test_profiles_are_added_listed_used_and_removed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in (("blue", "pk_blue_0123456789"), ("red", "sk_red_0123456789")):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
        assert run("profile", "add", name, "--url", f"https://{name}.example/", "--key-stdin").status == 0
    file = tmp_path / "profiles.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("profile", "use", "red").status == 0
    listed = run("profile", "list").out.splitlines()
    assert listed[1].split() == ["blue", "https://blue.example", "pk_blue_…", "-"]
    assert listed[2].split() == ["*", "red", "https://red.example", "sk_red_0…", "-"]
    assert "0123456789" not in run("profile", "list", "--json").out
    assert run("profile", "remove", "red").status == 0
    assert run("profile", "use", "red").status == 2
    assert profiles.read(file) == Profiles({"blue": Server("https://blue.example", "pk_blue_0123456789")}, None)


def test_a_key_is_asked_for_and_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("two words\u00a0\n"))
    ended = run("profile", "add", "blue", "--url", "https://blue.example", "--key-stdin")
    assert (ended.status, "that is not a key" in ended.err) == (2, True)
    assert run("profile", "add", "blue", "--url", "blue").status == 2


def test_a_file_that_others_may_read_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "profiles.json"
    profiles.write(file, BOTH)
    file.chmod(0o644)
    ended = run("profile", "list")
    assert (ended.status, ended.err) == (
        1,
        f"twofold: {file} holds keys and other users may read it; mend it: chmod 600 {file}\n",
    )
    file.chmod(0o600)
    file.write_text('{"servers": 7}')
    assert "is not a file of profiles" in run("profile", "list").err


def test_without_a_server_it_says_how_to_name_one(run: Run) -> None:
    ended = run("deliveries", "list")
    assert ended.status == 2
    assert "no server is known. Start one here (twofold up)" in ended.err
