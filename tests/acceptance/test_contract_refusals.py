"""The web process refuses a wrong contract file: one line with file, line and reason, status 1, no traceback.

Each start takes seconds of processor time, so `make test` has one of each kind, and `make test-long` the others.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.contracts_page import FILE
from tests.processes import LINES, ROOT, environment, free_port

# The web process looks at its files before it needs an engine.
SETTINGS = {
    "DATABASE_URL": "postgresql:///none",
    "REDIS_URL": "redis://127.0.0.1:1",
    "SECRET_KEY": "0123456789abcdef" * 2,
}
SECONDS = 180  # a start takes seconds of processor time, on a machine that may be busy
REFUSED = 1  # exit status

# One of each layer that refuses; every single mistake is in tests/core/contract/test_files.py, without a process.
# (the text that is replaced, by what, a text on the line that is to be named, the reason)
WRONG = [
    ('name = "orders"', 'name = "orders', 'name = "orders', "Illegal character '\\n'"),
    ('about = "Status', 'abuot = "Status', "abuot", "abuot: is not known here (did you mean about?)"),
    ('"/shop/orders/{order_id}/live"', '"/v1/calls/{order_id}/transcript"', "/v1/calls/", "is taken by"),
    ('{"type": "number"}, "lon"', '{"type": "numbr"}, "lon"', '"lat", "lon"', "events[1].schema: 'numbr' is not valid"),
    ('example = { status = "packed" }', 'example = { status = "lost" }', "lost", "does not fit its own schema"),
]


def start(folder: Path, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """The Procfile's web process with this CONTRACTS_DIR, to its end."""
    changed = {"CONTRACTS_DIR": str(folder), "PORT": str(free_port()), "WEB_CONCURRENCY": str(processes)}
    env = environment(SETTINGS | changed)
    return subprocess.run(
        shlex.split(LINES["web"]), cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def rarely(wrong: tuple[str, ...]) -> Any:
    """What needs no more than the files is refused in the same way, whatever it is."""
    return pytest.param(*wrong, id=wrong[3], marks=() if wrong[3] == "is taken by" else pytest.mark.long)


@pytest.mark.parametrize(("old", "new", "on", "why"), [rarely(wrong) for wrong in WRONG])
def test_a_wrong_file_ends_the_start_with_its_line(tmp_path: Path, old: str, new: str, on: str, why: str) -> None:
    assert old in FILE
    text = FILE.replace(old, new, 1)
    file = tmp_path / "orders.toml"
    file.write_text(text, encoding="utf-8")
    done = start(tmp_path)
    assert done.returncode == REFUSED, done.stderr
    said = [line for line in done.stderr.split("\n") if line.startswith(str(file))]
    assert len(said) == 1, done.stderr
    assert why in said[0]
    assert f"line {text[: text.index(on)].count(chr(10)) + 1}" in said[0]
    assert "Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("folder", "why"),
    [(".", "orders.toml: 'utf-8' codec"), ("none", "/none, which is not a folder")],
    ids=["no text", "no folder"],
)
def test_what_cannot_be_read_is_said_by_one_of_two_processes(tmp_path: Path, folder: str, why: str) -> None:
    (tmp_path / "orders.toml").write_bytes(b'name = "\xff"')
    done = start(tmp_path / folder, processes=2)
    assert done.returncode == REFUSED, done.stderr
    assert done.stderr.count(why) == 1
    assert "Traceback" not in done.stderr
