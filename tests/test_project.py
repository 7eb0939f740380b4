"""The project's files are found in a checkout and in an installed wheel, from wherever one stands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from app.project import newest_migration, project_root, var_directory
from tests.processes import ROOT

ASK = "import os; from app.project import project_root, var_directory; print(project_root(), var_directory(os.environ))"


def test_a_checkout_is_its_own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert project_root() == ROOT
    for name in ("Procfile", "alembic.ini", "gunicorn.conf.py", "migrations/env.py"):
        assert (project_root() / name).is_file()
    assert var_directory({}) == var_directory({"TWOFOLD_VAR": ""}) == ROOT / "var"
    assert var_directory({"TWOFOLD_VAR": "mine"}) == tmp_path / "mine"


def test_the_newest_migration_is_alembics_head() -> None:
    assert newest_migration() == ScriptDirectory(str(ROOT / "migrations")).get_current_head()


def test_a_wheel_has_its_files_inside_and_its_data_where_it_is_run(tmp_path: Path) -> None:
    package, here = tmp_path / "site" / "app", tmp_path / "here"
    (package / "project_files").mkdir(parents=True)
    here.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "app" / "project.py", package)
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=here,
        env={"PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(package / "project_files"), str(here / "var")]
