"""What the web processes of this server take: memory, files, time, connections to PostgreSQL, and how late they are.

Each process looks at itself every few seconds, in a thread of its own; prometheus_client adds them up.
"""

from __future__ import annotations

import os
import platform
import resource
import threading
import time
from importlib import metadata
from pathlib import Path

from prometheus_client import Counter, Gauge

from app.web.engine import Engine

LOOK_SECONDS = 5.0
DISTRIBUTIONS = ("twofold-server", "twofold")  # by which the installed package may be known

BUILD = Gauge(
    "twofold_build_info",
    "The version that runs, as labels; always 1.",
    ["version", "python"],
    multiprocess_mode="livemax",
)
PROCESSES = Gauge("twofold_web_processes", "Web processes of this server.", multiprocess_mode="livesum")
MEMORY = Gauge("twofold_web_resident_bytes", "Memory of all web processes.", multiprocess_mode="livesum")
FILES = Gauge("twofold_web_open_files", "Open files of the web process that has most.", multiprocess_mode="livemax")
FILES_LIMIT = Gauge("twofold_web_open_files_limit", "Files that a web process may open.", multiprocess_mode="livemin")
CPU = Counter("twofold_web_cpu_seconds", "CPU time of all web processes.")
LATE = Gauge(
    "twofold_web_loop_late_seconds",
    "How late the event loop of the slowest web process woke a sleeper.",
    multiprocess_mode="livemax",
)
POOL = Gauge(
    "twofold_database_connections_in_use",
    "Connections to PostgreSQL that web processes use now, by pool.",
    ["pool"],
    multiprocess_mode="livesum",
)
POOL_LIMIT = Gauge(
    "twofold_database_connections_limit",
    "Connections that the web processes may use at once, by pool.",
    ["pool"],
    multiprocess_mode="livesum",
)


def version() -> str:
    """The installed package's version, `unknown` where it is not installed."""
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


class ProcessLook:
    """One process's look at itself."""

    def __init__(self, engine: Engine) -> None:
        self._pools = engine.databases
        self._cpu_seconds = 0.0
        BUILD.labels(version(), platform.python_version()).set(1)

    def start(self) -> None:
        """Look now, and then every LOOK_SECONDS as long as the process lives."""
        self.look(0.0)
        threading.Thread(target=self._run, name="figures", daemon=True).start()

    def look(self, late_seconds: float) -> None:
        """Bring the figures up to date. late_seconds: by how much this look is late."""
        PROCESSES.set(1)
        LATE.set(late_seconds)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        CPU.inc(usage.ru_utime + usage.ru_stime - self._cpu_seconds)
        self._cpu_seconds = usage.ru_utime + usage.ru_stime
        FILES_LIMIT.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        for name, database in self._pools.items():
            POOL.labels(name).set(database.in_use)
            POOL_LIMIT.labels(name).set(database.most_connections)
        if Path("/proc/self/statm").exists():  # macOS, where people develop, has none
            MEMORY.set(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
            FILES.set(len(os.listdir("/proc/self/fd")))

    def _run(self) -> None:
        while True:
            slept_at = time.monotonic()
            threading.Event().wait(LOOK_SECONDS)
            self.look(max(0.0, time.monotonic() - slept_at - LOOK_SECONDS))
