"""The place at the doorbell: one drain of each worker waits there, whichever process of the pool came first.

A lock of the operating system on a file without a name, made before any fork: it ends with the process that holds it,
however that ends. (Where children are spawned and not forked, as on macOS, each has a file of its own, and all wait.)
"""

from __future__ import annotations

import fcntl
import tempfile

_file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this process


def take() -> bool:
    """Take the place for this process, if no other one has it."""
    try:
        fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def leave() -> None:
    """Leave the place to another process, if this one has it."""
    fcntl.lockf(_file, fcntl.LOCK_UN)


def is_free() -> bool:
    """Whether no other process has the place."""
    if take():
        leave()
        return True
    return False
