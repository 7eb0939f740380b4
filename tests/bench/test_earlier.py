"""The revision before a file came is found, whether it came by a merge or not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import earlier, revisions
from bench.programs import BenchError

# A line, a branch of two commits of which the first makes `lanes`, something beside it that cannot be run, as two
# migrations are the last, and the merge, which mends that.
HISTORY = """
git init -q -b main . && git config user.email a@b.example && git config user.name a
mkdir -p migrations/versions && cd migrations/versions
printf 'revision = "1"\\ndown_revision = None\\n' > 1.py && cd ../.. && git add . && git commit -qm one
git checkout -qb lanes && echo 1 > lanes && git add lanes && git commit -qm lanes
echo 2 > lanes && git commit -qam more
git checkout -q main && echo 1 > beside && git add beside && git commit -qm beside
for n in 2 3; do printf "revision = \\"$n\\"\\ndown_revision = \\"1\\"\\n" > migrations/versions/$n.py; done
git add . && git commit -qm two && git merge -q --no-ff --no-commit lanes && git rm -qf migrations/versions/3.py
git commit -qm merged && echo 1 > after && git add after && git commit -qm after
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["sh", "-ec", HISTORY], cwd=tmp_path, check=True)
    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("repository")
def test_what_can_be_run_of_what_the_branch_was_merged_into_is_before_it(tmp_path: Path) -> None:
    tree = earlier.tree_before("lanes", tmp_path / "trees")
    assert sorted(path.name for path in tree.iterdir()) == ["beside", "migrations"]
    assert sorted(path.name for path in (tree / "migrations" / "versions").iterdir()) == ["1.py"]


@pytest.mark.usefixtures("repository")
def test_a_file_of_the_main_line_came_after_its_parent(tmp_path: Path) -> None:
    tree = earlier.tree_before("after", tmp_path / "trees")
    assert sorted(path.name for path in tree.iterdir()) == ["beside", "lanes", "migrations"]


@pytest.mark.usefixtures("repository")
def test_nothing_is_before_a_file_that_never_came() -> None:
    with pytest.raises(BenchError, match="git does not know when nothing came"):
        earlier.revision_before("nothing")
