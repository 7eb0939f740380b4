"""Puts what the processes are started with into the wheel: it lies beside the packages, and a wheel holds packages.

Everything else about the package is in pyproject.toml. app/project.py finds these files again.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
BESIDE = (
    "Procfile",
    "alembic.ini",
    "gunicorn.conf.py",
    "clients/vectors.json",
    "migrations/env.py",
    "migrations/script.py.mako",
)


def beside() -> list[str]:
    """These files, relative to this one."""
    versions = sorted(HERE.glob("migrations/versions/*.py"))
    return [*BESIDE, *(str(path.relative_to(HERE)) for path in versions)]


class BuildWithProjectFiles(build_py):
    """Builds the packages, and app/project_files/ beside them. A checkout has no such folder: it needs none."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)  # modules that are gone by now would be packed, too
        super().run()
        if not self.editable_mode:
            for name in beside():
                target = Path(self.build_lib, "app", "project_files", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(HERE / name, target)

    def get_source_files(self) -> list[str]:
        """What a source distribution holds."""
        return [*super().get_source_files(), *beside()]


setup(cmdclass={"build_py": BuildWithProjectFiles})
