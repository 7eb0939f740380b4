"""What a terminal gets: a table that fits it, colours unless they are unwanted, and a bar while much is sent."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import OddServer
from tests.processes import ROOT

LONG = "https://example.com/" + "x" * 200


def on_terminal(*argv: str, **env: str) -> str:
    """What a command prints on a terminal of 60 columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "app.cli", *argv]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "COLUMNS": "60", **env}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux's way to say that nobody writes any more
                break
            if not piece:
                break
            shown += piece
        assert process.wait(30) == 0, shown
    os.close(ours)
    return shown.decode()


@pytest.fixture
def _endpoints(odd_server: OddServer) -> None:
    rows = [{"id": "ep_1", "url": LONG, "status": "disabled"}]
    odd_server.answers = [(200, {}, json.dumps({"data": rows, "next_cursor": None}).encode())]


@pytest.mark.usefixtures("_endpoints")
def test_a_table_fits_and_has_colours_unless_they_are_unwanted() -> None:
    assert "\x1b[31mdisabled\x1b[0m" in on_terminal("endpoints", "list")
    plain = on_terminal("endpoints", "list", NO_COLOR="1").splitlines()
    assert "\x1b" not in "".join(plain)
    assert plain[1].startswith("ep_1  disabled  https://example.com/xx")
    assert max(map(len, plain)) <= 60


def test_a_file_is_sent_behind_a_bar(odd_server: OddServer, tmp_path: Path) -> None:
    (tmp_path / "events").write_text('{"data":{}}\n')
    odd_server.answers = [(202, {}, b'{"id":"evt_1","seq":1,"duplicate":false}\n')]
    shown = on_terminal("publish", str(tmp_path / "events"))
    assert "Publishing" in shown
    assert "100%" in shown
    assert "1 accepted" in shown
