"""The place at the doorbell: one drain of each worker waits there, whichever process of the pool came first.

A lock of the operating system on a file without a name, made before any fork: it ends with the process that holds it,
however that ends. (Where children are spawned and not forked, as on macOS, each has a file of its own, and all wait.)

Whoever waits there notes in memory that it shares with the worker's parent when it has looked and found nothing, so
that the parent need not look, too.
"""

from __future__ import annotations

import fcntl
import mmap
import struct
import tempfile
import time

_file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this process
_SECONDS = struct.Struct("d")  # of the monotonic clock, which all processes of a machine share
_found_nothing_at = mmap.mmap(-1, _SECONDS.size)
# What a look has found holds for so long: whoever waits looks each second. A busy machine costs a look more.
FRESH_SECONDS = 1.15


def take() -> bool:
    """Take the place for this process, if no other one has it."""
    try:
        fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def found_nothing() -> None:
    """Note that this process has looked at this moment, and that nothing is due."""
    _SECONDS.pack_into(_found_nothing_at, 0, time.monotonic())


def is_quiet() -> bool:
    """Whether whoever waits here has just looked and found nothing."""
    at: float = _SECONDS.unpack_from(_found_nothing_at)[0]
    return 0 <= time.monotonic() - at < FRESH_SECONDS


def leave() -> None:
    """Leave the place to another process, if this one has it."""
    fcntl.lockf(_file, fcntl.LOCK_UN)


def is_free() -> bool:
    """Whether no other process has the place."""
    if take():
        leave()
        return True
    return False
