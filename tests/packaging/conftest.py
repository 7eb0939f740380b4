"""The wheel, built once from a copy of the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.interpreters import MINORS, found
from tests.processes import ROOT

NEITHER = shutil.ignore_patterns(".git", ".venv", "var", "build", "__pycache__", "*.egg-info", ".*_cache", "tests")


def pytest_report_header() -> str:
    interpreters = found()
    have = ", ".join(f"{one.version} ({one.path})" for one in interpreters)
    lack = ", ".join(f"3.{minor}" for minor in MINORS if minor not in {one.minor for one in interpreters})
    return f"interpreters: {have}; not on this machine: {lack or 'none'}"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    source, out = tmp_path_factory.mktemp("source") / "twofold", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, source, ignore=NEITHER)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-input", "-w", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made
