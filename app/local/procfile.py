"""The Procfile: which processes the product consists of, and how one of its lines is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from app.project import project_root

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")

# Settings that name a place and may be relative to where the user stands. Lines run in the project's folder.
PATHS = ("CONTRACTS_DIR", "PROMETHEUS_MULTIPROC_DIR")
SOCKET = "unix:"


def parse(text: str) -> dict[str, str]:
    """The lines of a Procfile by the names of their processes, in order. Blank lines and comments are left out."""
    found = (LINE.fullmatch(line.strip()) for line in text.split("\n"))
    return {match[1]: match[2] for match in found if match}


def lines() -> dict[str, str]:
    """The lines of our Procfile. Raises OSError."""
    return parse((project_root() / "Procfile").read_text(encoding="utf-8"))


def command(line: str, *further: str) -> list[str]:
    """What runs a line, with further arguments behind its own. The shell is replaced, so the pid is the program's."""
    return ["/bin/sh", "-c", f'exec {line} "$@"', "sh", *further]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a line: the programs of this Python's installation come first, and relative paths are resolved."""
    made = dict(environ)
    made["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
    for name in PATHS:
        if environ.get(name):
            made[name] = os.path.abspath(environ[name])
    bind = environ.get("BIND", "")
    if bind.startswith(SOCKET):
        made["BIND"] = SOCKET + os.path.abspath(bind.removeprefix(SOCKET))
    return made
