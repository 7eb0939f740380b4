"""PostgreSQL refuses to run as root: who it runs as then, and how that user reaches its data and its programs.

Folders that others made keep their modes, however private they are. What the user cannot reach there is put into a
folder of ours below REFUGE instead.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.local import children
from app.local.children import User

# There on every system, so that no account has to be made. A data directory that somebody owns stays theirs.
NOBODY = "nobody"
REFUGE = Path("/var/tmp")  # everybody may pass it and, unlike /tmp, it survives a restart of the machine
PREFIX = "twofold-postgres-"
SEARCH = stat.S_IXGRP | stat.S_IXOTH
READ = stat.S_IRGRP | stat.S_IROTH


def user_for(data: Path) -> User | None:
    """The user to run PostgreSQL as: None (ourselves) unless we are root, then the data's owner or `nobody`."""
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if data.exists() else 0
    entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(NOBODY)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def first_closed(path: Path, user: User) -> Path | None:
    """The first folder from the root down to `path`, itself included, that `user` may not pass; None if all are open.

    By owner, group and mode, without access control lists: a folder that only those open counts as closed.
    """
    return next((folder for folder in (*reversed(path.parents), path) if not _may_pass(folder.stat(), user)), None)


def make_refuge() -> Path:
    """A new, empty folder of ours that every user may pass and nobody else may list. Raises OSError."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=REFUGE))
    made.chmod(0o711)
    return made


def is_ours(folder: Path) -> bool:
    """Whether this is a folder that we made: REFUGE is everybody's, so its name alone says nothing."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not writable


def programs_for(user: User, install: Path, say: Callable[[str], None]) -> Path:
    """Where `user` can run the PostgreSQL that is installed in `install`: there, or in a copy that is made once."""
    if _runs(install, user):
        return install
    # One copy (about 30 MB) for all data directories, made anew when the installation is another one.
    mark = f"{install} {(install / 'bin' / 'postgres').stat().st_mtime_ns}"
    place = REFUGE / f"{PREFIX}programs-{os.geteuid()}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"
    copy = place / install.parent.name / install.name
    if not (is_ours(place) and _runs(copy, user)):
        say(f"PostgreSQL runs as user {user.name}, who cannot run {install}; copied it to {place}.")
        _copy(install, place)
    return copy


def _may_pass(folder: os.stat_result, user: User) -> bool:
    if folder.st_uid == user.uid:
        return bool(folder.st_mode & stat.S_IXUSR)
    if folder.st_gid == user.gid:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)


def _runs(install: Path, user: User) -> bool:
    # initdb: it loads the libraries that come beside the installation, which the server itself does not.
    command = [str(install / "bin" / "initdb"), "--version"]
    return children.spawn(command, directory=Path("/"), output=subprocess.DEVNULL, user=user).wait() == 0


def _copy(install: Path, place: Path) -> None:
    """Put a readable copy of `install`, and of the libraries that the wheel has beside its package, at `place`."""
    fresh = make_refuge()
    try:
        package = install.parent
        shutil.copytree(install, fresh / package.name / install.name, ignore=shutil.ignore_patterns("include"))
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, fresh / libraries.name)
        _make_readable(fresh)
        if is_ours(place):
            shutil.rmtree(place)  # damaged: REFUGE may be swept by age
        fresh.rename(place)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not is_ours(place):  # else somebody was faster
            raise


def _make_readable(tree: Path) -> None:
    # Installed under a strict umask: readable by root alone.
    for folder, _, files in os.walk(tree):
        os.chmod(folder, os.stat(folder).st_mode | READ | SEARCH)
        for name in files:
            path = Path(folder, name)
            mode = path.stat().st_mode
            path.chmod(mode | READ | (SEARCH if mode & stat.S_IXUSR else 0))
