"""PostgreSQL refuses to run as root: who it runs as then, and how that user reaches its files."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from app.local import children
from app.local.children import User

# There on every system, so that no account has to be made. A data directory that somebody owns stays theirs.
NOBODY = "nobody"
SEARCH = stat.S_IXGRP | stat.S_IXOTH
READ = stat.S_IRGRP | stat.S_IROTH


def user_for(data: Path) -> User | None:
    """The user to run PostgreSQL as: None (ourselves) unless we are root, then the data's owner or `nobody`."""
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if data.exists() else 0
    entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(NOBODY)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def let_through(directory: Path, install: Path, user: User, say: Callable[[str], None]) -> None:
    """Make sure that `user` can enter `directory` and run what is in `install`; says what it had to open for that.

    Opens no more than needed: search permission (not reading) on the folders above, and reading on the installation.
    """
    folders = dict.fromkeys(folder for path in (directory, install) for folder in (path, *path.parents))
    closed = [folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH]
    for folder in closed:
        folder.chmod(folder.stat().st_mode | SEARCH)
    if closed:
        say(f"PostgreSQL runs as user {user.name}; let it pass through (chmod o+x): {' '.join(map(str, closed))}")
    # initdb: it loads the libraries that come beside the installation, which the server itself does not.
    command = [str(install / "bin" / "initdb"), "--version"]
    if children.spawn(command, directory=directory, output=subprocess.DEVNULL, user=user).wait() != 0:
        say(f"PostgreSQL runs as user {user.name}; made its programs readable: {install}")
        for tree in (install, *install.parent.parent.glob(f"{install.parent.name}.libs")):
            _make_readable(tree)


def _make_readable(tree: Path) -> None:
    # Installed under a strict umask: readable by root alone.
    for folder, _, files in os.walk(tree):
        os.chmod(folder, os.stat(folder).st_mode | READ | SEARCH)
        for name in files:
            path = Path(folder, name)
            mode = path.stat().st_mode
            path.chmod(mode | READ | (SEARCH if mode & stat.S_IXUSR else 0))
