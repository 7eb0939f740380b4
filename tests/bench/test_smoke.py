"""Every load, for a moment, against the running product: two minutes on a machine that does nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.load
def test_every_load_can_be_measured() -> None:
    command = [sys.executable, "-m", "bench", "--form", "smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
