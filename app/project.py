"""Where the project's own files are, in a checkout and in an installed wheel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE / "project_files"  # made by setup.py when a wheel is built; a checkout has no such folder


def project_root() -> Path:
    """The folder that holds Procfile, alembic.ini, gunicorn.conf.py, migrations/ and clients/vectors.json."""
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent


def var_directory(environ: Mapping[str, str]) -> Path:
    """Where a local run keeps its files: TWOFOLD_VAR, else var/ in the checkout, else var/ in the working directory."""
    given = environ.get("TWOFOLD_VAR")
    return Path(given or (Path.cwd() if _IN_WHEEL.is_dir() else _PACKAGE.parent) / "var").resolve()
