"""Where the project's own files are, in a checkout and in an installed wheel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE / "project_files"  # made by setup.py when a wheel is built; a checkout has no such folder
_REVISION = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)


def project_root() -> Path:
    """The folder that holds Procfile, alembic.ini, gunicorn.conf.py, migrations/ and clients/vectors.json."""
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent


def newest_migration() -> str:
    """The migration that this version's code needs: the one that no other comes after.

    Read from the migrations' text: each web process asks for it, and alembic would import all of them, and itself.
    Raises ValueError if it is not one.
    """
    named: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for file in (project_root() / "migrations" / "versions").glob("*.py"):
        for what, name in _REVISION.findall(file.read_text(encoding="utf-8")):
            named[what].add(name)
    (newest,) = named["revision"] - named["down_revision"]
    return newest


def var_directory(environ: Mapping[str, str]) -> Path:
    """Where a local run keeps its files: TWOFOLD_VAR, else var/ in the checkout, else var/ in the working directory."""
    given = environ.get("TWOFOLD_VAR")
    return Path(given or (Path.cwd() if _IN_WHEEL.is_dir() else _PACKAGE.parent) / "var").resolve()
