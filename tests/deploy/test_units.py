"""systemd takes the units."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.processes import ROOT

UNITS = ROOT / "deploy" / "systemd"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """Checked with a program that is here in the place of the installed one."""
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.target")]:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/twofold/bin/twofold", "/bin/true"))
    names = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run(
        ["systemd-analyze", "verify", *names], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "twofold" in line]
    assert (done.returncode, ours) == (0, [])
