"""The Python interpreters of this machine that Twofold is for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MINORS = (11, 12, 13, 14)  # of Python 3
ASK = "import sys; print(sys.executable, *sys.version_info[:3])"


@dataclass(frozen=True)
class Interpreter:
    """One of them. version: such as 3.12.1."""

    path: Path
    version: str

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])


def found() -> list[Interpreter]:
    """One of each minor version, the one that runs this first; then those of the PATH, then those of pyenv."""
    versions = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))
    candidates = [sys.executable, *(f"python3.{minor}" for minor in MINORS), *map(str, versions)]
    by_minor: dict[int, Interpreter] = {}
    for candidate in candidates:
        interpreter = _look(candidate)
        if interpreter and interpreter.minor in MINORS:
            by_minor.setdefault(interpreter.minor, interpreter)
    return [by_minor[minor] for minor in sorted(by_minor)]


def _look(command: str) -> Interpreter | None:
    try:
        done = subprocess.run([command, "-c", ASK], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):  # not there, or a shim for what is not there
        return None
    path, *numbers = done.stdout.split()
    return Interpreter(Path(path), ".".join(numbers))
