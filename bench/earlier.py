"""This product as it was before a file came to be: what it is held against that has come with that file."""

from __future__ import annotations

from pathlib import Path

from bench.programs import BenchError
from bench.revisions import git, unpack

LANES = "migrations/versions/0017_lanes.py"


def tree_before(file: str, directory: Path) -> Path:
    """The files of the last revision of the main line without this file that can be run, in a folder. Raises
    BenchError."""
    tree = directory / f"before-{Path(file).stem}"
    if tree.exists():
        return tree
    return unpack(next(one for one in _line_of(revision_before(file)) if _heads(one) == 1), tree)


def revision_before(file: str) -> str:
    """Where the file came by a merge, what it was merged into; else the parent of the commit that made it."""
    made = git("log", "--diff-filter=A", "--format=%H", "--", file).decode().split()
    if not made:
        raise BenchError(f"git does not know when {file} came")
    merges = git("rev-list", "--ancestry-path", "--merges", f"{made[-1]}..HEAD").decode().split()
    into = f"{merges[-1]}^1" if merges else f"{made[-1]}^"
    has_it = bool(git("ls-tree", "--name-only", into, "--", file))
    return f"{made[-1]}^" if has_it else into


def _line_of(revision: str) -> list[str]:
    """It and those before it on the main line, the newest first."""
    return git("rev-list", "--first-parent", revision).decode().split()


def _heads(revision: str) -> int:
    """How many migrations of a revision nothing comes after: where work was being merged, there are several, and the
    tables cannot be made."""
    text = git("grep", "-hE", "^(down_)?revision = ", revision, "--", "migrations/versions").decode()
    named = [line.split(" = ") for line in text.splitlines()]
    before = {number for name, number in named if name == "down_revision"}
    return len({number for name, number in named if name == "revision"} - before)
