"""What git knows of this checkout, and the files of another revision of it. The chaos runs use it, too."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from bench.place import ROOT
from bench.programs import BenchError


def unpack(revision: str, tree: Path) -> Path:
    """The files of a revision, in a folder, which is made when it is not there. Raises BenchError."""
    if not tree.exists():
        with tarfile.open(fileobj=BytesIO(git("archive", revision))) as archive:
            archive.extractall(tree, filter="data")
    return tree


def git(*arguments: str) -> bytes:
    """What a git command prints here. Raises BenchError where there is no git or no repository, or git refuses."""
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise BenchError(f"git is not here: {error}") from None
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[:300]}")
    return done.stdout
