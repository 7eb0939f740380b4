"""docs/contracts.md, literally: its file, its commands, what it says one sees, and its mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.contracts_page import FILE, PAGE, TUTORIAL, Block, blocks, changed, same
from tests.conftest import StartServer
from tests.processes import ROOT, RunningServer, environment, eventually, free_port

START = Block("sh", "start", "CONTRACTS_DIR=my-contracts make run\n")
ADDRESS = "http://127.0.0.1:8000"
SECONDS = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reader's my-contracts, with the page's file."""
    made = tmp_path / "my-contracts"
    made.mkdir()
    (made / "orders.toml").write_text(FILE, encoding="utf-8")
    return made


class Reader:
    """Somebody who types what the page says, and compares."""

    def __init__(self, server: RunningServer, directory: Path) -> None:
        described = directory / "dev.json"
        described.write_text(json.dumps({"workspace_key": server.workspace_key}))
        self._places = {ADDRESS: server.base_url, "var/dev.json": str(described), ".venv/bin/python": sys.executable}
        self._set = ""  # variables and functions, for all that follow
        self._second: subprocess.Popen[bytes] | None = None
        self._second_shows = directory / "second terminal"

    def keep(self, lines: str) -> None:
        """Type lines that show nothing."""
        self._set += lines

    def run(self, lines: str) -> str:
        """What lines show."""
        done = subprocess.run(
            self._shell(lines), cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, f"{lines}\n{done.stdout}{done.stderr}"
        return done.stdout.replace(self._places[ADDRESS], ADDRESS)

    def run_in_second_terminal(self, lines: str) -> None:
        """Begin there; returns when it has shown something."""
        with self._second_shows.open("wb") as output:
            self._second = subprocess.Popen(self._shell(lines), cwd=ROOT, stdout=output)
        eventually(self._second_shows.read_text, about="the greeting")

    def second_terminal(self) -> str:
        """What it shows when it is back at its prompt."""
        assert self._second is not None
        assert self._second.wait(SECONDS) == 0
        return self._second_shows.read_text()

    def close(self) -> None:
        if self._second is not None:
            self._second.kill()
            self._second.wait()

    def _shell(self, lines: str) -> list[str]:
        pattern = "|".join(map(re.escape, self._places))
        return ["/bin/bash", "-euc", re.sub(pattern, lambda match: self._places[match.group()], self._set + lines)]


def follow(reader: Reader, page: list[Block]) -> int:
    """Do what the page says; returns how often what it says was compared with what was seen."""
    shown, compared = "", 0
    for block, after in pairwise([*page, Block("", "", "")]):
        if block.language == "text":
            seen = shown if not block.note else reader.second_terminal()
            assert same(block.text, seen), f"the page says:\n{block.text}\nseen:\n{seen}"
            compared += 1
        elif block.note == "second terminal":
            reader.run_in_second_terminal(block.text)
        elif after.language == "text":
            shown = reader.run(block.text)
        else:
            reader.keep(block.text)
    return compared


def test_the_ten_minutes(start_server: StartServer, folder: Path, tmp_path: Path) -> None:
    file, start, *page = TUTORIAL
    assert (file.language, start) == ("toml", START)
    assert {block.language for block in page} == {"sh", "text"}
    server = start_server(CONTRACTS_DIR=str(folder))
    reader = Reader(server, tmp_path)
    try:
        assert follow(reader, page) == 8
    finally:
        reader.close()
    assert "Traceback" not in server.web.log_text()


def test_its_mistakes_are_answered_as_it_says(folder: Path, tmp_path: Path) -> None:
    found = blocks("Mistakes")
    assert START in found
    for diff, said in pairwise([block for block in found if block != START]):
        if diff.language != "diff":
            continue
        (folder / "orders.toml").write_text(changed(diff.text), encoding="utf-8")
        env = environment({"CONTRACTS_DIR": str(folder), "TWOFOLD_VAR": str(tmp_path), "PORT": str(free_port())})
        done = subprocess.run(
            [sys.executable, "-m", "app.local.run"],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        shown = "".join(f"{line.strip()}\n" for line in (done.stdout + done.stderr).strip().split("\n"))
        assert shown.replace(str(folder), "my-contracts") == said.text
        assert not (tmp_path / "postgres").exists(), "nothing was started"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE))))
def test_every_link_leads_somewhere(link: str) -> None:
    if link.startswith("#"):
        titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
        assert link[1:] in [re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles]
    else:
        assert Path(os.path.normpath(ROOT / "docs" / link)).exists()
