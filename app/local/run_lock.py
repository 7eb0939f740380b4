"""Lock a directory so only one local run uses it; the kernel releases it on exit."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

POLL_SECONDS = 0.05
GRACE_SECONDS = 1.0  # a holder whose parent was just killed takes a moment to mark that it is stopping
STOPPING_SECONDS = 40.0  # a graceful stop takes up to 30 s (streams, then a drain's last transfers)


class AlreadyRunningError(RuntimeError):
    """Another run uses the directory; `pid` is its process."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} holds the lock")
        self.pid = pid


class RunLock:
    """Held from acquire() to the end of this process. Waits for a holder that is stopping, not for one that runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Raises AlreadyRunningError."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        began = time.monotonic()
        while not self._try():
            pid, stopping = self._holder()
            if time.monotonic() - began > (STOPPING_SECONDS if stopping else GRACE_SECONDS):
                os.close(self._descriptor)
                raise AlreadyRunningError(pid)
            time.sleep(POLL_SECONDS)
        self._write(stopping=False)

    def mark_stopping(self) -> None:
        """Let a run that wants to start here wait for our end."""
        self._write(stopping=True)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _write(self, *, stopping: bool) -> None:
        text = json.dumps({"pid": os.getpid(), "stopping": stopping}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def _holder(self) -> tuple[int, bool]:
        try:
            found = json.loads(os.pread(self._descriptor, 1000, 0))
            return int(found["pid"]), bool(found["stopping"])
        except (ValueError, KeyError, TypeError):
            return 0, False  # caught between truncation and writing
