"""This product as it was before a file came to be: what it is held against that has come with that file."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from bench.place import ROOT
from bench.programs import BenchError

LANES = "migrations/versions/0017_lanes.py"


def tree_before(file: str, directory: Path) -> Path:
    """The files of the last revision of the main line without this file that can be run, in a folder. Raises
    BenchError."""
    tree = directory / f"before-{Path(file).stem}"
    if not tree.exists():
        packed = _git("archive", next(one for one in _line_of(revision_before(file)) if _heads(one) == 1))
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(tree, filter="data")
    return tree


def revision_before(file: str) -> str:
    """Where the file came by a merge, what it was merged into; else the parent of the commit that made it."""
    made = _git("log", "--diff-filter=A", "--format=%H", "--", file).decode().split()
    if not made:
        raise BenchError(f"git does not know when {file} came")
    merges = _git("rev-list", "--ancestry-path", "--merges", f"{made[-1]}..HEAD").decode().split()
    into = f"{merges[-1]}^1" if merges else f"{made[-1]}^"
    has_it = bool(_git("ls-tree", "--name-only", into, "--", file))
    return f"{made[-1]}^" if has_it else into


def _line_of(revision: str) -> list[str]:
    """It and those before it on the main line, the newest first."""
    return _git("rev-list", "--first-parent", revision).decode().split()


def _heads(revision: str) -> int:
    """How many migrations of a revision nothing comes after: where work was being merged, there are several, and the
    tables cannot be made."""
    text = _git("grep", "-hE", "^(down_)?revision = ", revision, "--", "migrations/versions").decode()
    named = [line.split(" = ") for line in text.splitlines()]
    before = {number for name, number in named if name == "down_revision"}
    return len({number for name, number in named if name == "revision"} - before)


def _git(*arguments: str) -> bytes:
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise BenchError(f"git is not here: {error}") from None
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[:300]}")
    return done.stdout
