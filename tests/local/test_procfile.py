"""The Procfile is read as its other readers do, and its lines run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.local import procfile
from tests.processes import ROOT


def test_a_procfile_gives_its_lines_in_order() -> None:
    text = "# what runs\nrelease: alembic upgrade head\n\nweb:gunicorn  -b :$PORT \nre-lay_2: a: b\nno line\na b: x\n"
    assert list(procfile.parse(text).items()) == [
        ("release", "alembic upgrade head"),
        ("web", "gunicorn  -b :$PORT"),
        ("re-lay_2", "a: b"),
    ]


def test_ours_has_the_four_processes() -> None:
    assert list(procfile.lines()) == ["release", "web", "worker", "beat"]


def test_a_line_replaces_the_shell_and_takes_further_arguments_as_they_are() -> None:
    command = procfile.command('echo "$A" $$', "b c", "$A", "*")
    process = subprocess.Popen(command, env={"A": "x  y", "PATH": "/bin:/usr/bin"}, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=10)
    assert out == f"x  y {process.pid} b c $A *\n"


def test_this_installations_programs_come_first() -> None:
    assert procfile.environment({"PATH": "/bin"})["PATH"] == f"{Path(sys.executable).parent}:/bin"
    assert procfile.environment({})["PATH"].startswith(f"{Path(sys.executable).parent}:/")


@pytest.mark.parametrize("name", ["CONTRACTS_DIR", "PROMETHEUS_MULTIPROC_DIR"])
def test_relative_paths_keep_their_meaning(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert procfile.environment({name: "here"})[name] == str(tmp_path / "here")
    assert procfile.environment({name: str(ROOT)})[name] == str(ROOT)
    assert procfile.environment({name: ""})[name] == ""


def test_a_socket_keeps_its_place_and_an_address_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert procfile.environment({"BIND": "unix:web.sock"})["BIND"] == f"unix:{tmp_path}/web.sock"
    assert procfile.environment({"BIND": "0.0.0.0:80"})["BIND"] == "0.0.0.0:80"
    assert "BIND" not in procfile.environment({})
