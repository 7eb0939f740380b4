"""Programs that use the client packages as somebody who has installed them does, and what they print."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import ROOT, environment

HERE = Path(__file__).parent
INSTALL_SECONDS = 300.0
TYPESCRIPT = "typescript@5.9.3"
MISSING = "There is no {0} here. Install it with: apt-get install nodejs npm golang"


class Running:
    """A program that runs. Each line that it prints is a JSON object."""

    def __init__(self, name: str, command: list[str], folder: Path, output: Path) -> None:
        self.name, self._output = name, output
        with output.open("wb") as out, output.with_suffix(".err").open("wb") as errors:
            self._process = subprocess.Popen(command, cwd=folder, env=environment({}), stdout=out, stderr=errors)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has printed so far, whole lines only."""
        return [json.loads(line) for line in self._output.read_bytes().split(b"\n")[:-1]]

    @property
    def errors(self) -> str:
        return self._output.with_suffix(".err").read_text()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> None:
        """Until it has ended by itself, in order."""
        assert self._process.wait(seconds) == 0, f"{self.name}: {self.errors}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Programs:
    """What can be run: by client, the words before the arguments of `follow`, `publish` or `feed`."""

    folder: Path
    commands: dict[tuple[str, str], list[str]]

    def start(self, client: str, what: str, *arguments: str) -> Running:
        command = [*self.commands[client, what], *arguments]
        number = len(list(self.folder.glob("*.out")))
        return Running(f"{client} {what}", command, self.folder, self.folder / f"{number}-{client}-{what}.out")


def install(folder: Path) -> Programs:
    """Build and install the three packages below `folder`, which has an `app` package of its own, as projects do."""
    (folder / "app").mkdir()
    (folder / "app/__init__.py").write_text('raise RuntimeError("the client imported the project\'s own package")\n')
    python = _install_python(folder)
    _install_javascript(folder)
    go = build_go(HERE / "programs/go", folder / "programs-go")
    commands: dict[tuple[str, str], list[str]] = {}
    for what in ("follow", "publish", "feed"):
        shutil.copy(HERE / f"programs/{what}.mjs", folder)
        commands["python", what] = [str(python), str(HERE / f"programs/{what}.py")]
        commands["javascript", what] = [tool("node"), str(folder / f"{what}.mjs")]
        commands["go", what] = [str(go), what]
    return Programs(folder, commands)


def _install_python(folder: Path) -> Path:
    source = folder / "python-source"  # a build leaves files beside its sources
    shutil.copytree(
        ROOT / "clients/python", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    )
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-input", "-w", str(folder), str(source)], folder)
    (wheel,) = folder.glob("twofold-*.whl")
    run([sys.executable, "-m", "venv", "venv"], folder)
    python = folder / "venv/bin/python"
    run(
        [str(python), "-m", "pip", "install", "-q", "--no-input", "-c", str(ROOT / "constraints.txt"), str(wheel)],
        folder,
    )
    return python


def _install_javascript(folder: Path) -> None:
    npm = tool("npm")
    run([npm, "pack", "--silent", "--pack-destination", str(folder)], ROOT / "clients/javascript")
    (tarball,) = folder.glob("twofold-*.tgz")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    run([npm, "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", str(tarball), TYPESCRIPT], folder)


def build_go(source: Path, program: Path) -> Path:
    run([tool("go"), "build", "-o", str(program), "."], source)
    return program


def tool(name: str) -> str:
    found = shutil.which(name)
    assert found, MISSING.format(name)
    return found


def run(command: list[str], folder: Path) -> str:
    """What a command prints; it must end with status 0. It has our environment: registries are set there."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
