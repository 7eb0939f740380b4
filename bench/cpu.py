"""CPU and memory of processes with all their descendants, as /proc has them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def parsed_stat(text: str) -> tuple[int, float]:
    """Of a line of /proc/PID/stat: the parent, and CPU seconds, with those of children that were waited for."""
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) * TICK_SECONDS


def tree_of(roots: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """The roots that live and all that descends from them. parents: of every living process."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = set(), [pid for pid in roots if pid in parents]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def snapshot(kinds: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """CPU seconds used so far by each kind of process. kinds: the roots of each."""
    stats = _stats()
    parents = {pid: parent for pid, (parent, _) in stats.items()}
    return {kind: sum(stats[pid][1] for pid in tree_of(roots, parents)) for kind, roots in kinds.items()}


def busy_seconds() -> float:
    """CPU seconds that this machine has spent on anything, and that its host has taken away (steal)."""
    fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = (int(ticks) for ticks in fields[:8])
    return (user + nice + system + interrupts + soft + stolen) * TICK_SECONDS


def resident_kib(roots: Iterable[int]) -> int:
    """Proportional resident memory (shared pages divided among those that share them) of processes with descendants."""
    parents = {pid: parent for pid, (parent, _) in _stats().items()}
    return sum(_pss_kib(pid) for pid in tree_of(roots, parents))


def kernel_kib() -> int:
    """Memory of the kernel's own objects (slab) and of socket buffers, of the whole machine."""
    meminfo = dict(line.split(":") for line in (PROC / "meminfo").read_text().splitlines())
    pages = [line.split() for line in (PROC / "net" / "sockstat").read_text().splitlines() if line.startswith("TCP:")]
    buffers = int(pages[0][pages[0].index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return int(meminfo["Slab"].split()[0]) + buffers


def _stats() -> dict[int, tuple[int, float]]:
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = parsed_stat((entry / "stat").read_text())
            except (OSError, ValueError, IndexError):
                continue  # ended meanwhile
    return found


def _pss_kib(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
