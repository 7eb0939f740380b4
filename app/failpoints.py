"""Failpoints: places in the code where a test kills or freezes the process that gets there. Off unless asked for.

    TWOFOLD_FAILPOINTS="drain.claimed:kill@3,ledger.committed:stop@/tmp/now"

`kill` is SIGKILL and `stop` is SIGSTOP, sent by the process to itself. `@3`: when a process gets there for the third
time. `@/tmp/now`: when that file is there; it is removed first, so that one process acts for each file that is made.

They are for tests: without TWOFOLD_ALLOW_FAILPOINTS=1 (or the mark of a local run) they do nothing, and the settings
refuse to start such a process.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

VARIABLE = "TWOFOLD_FAILPOINTS"
ALLOWED_BY = ("TWOFOLD_ALLOW_FAILPOINTS", "TWOFOLD_RUN")

POINTS = {
    "ledger.commit": "before the call that stores and commits events",
    "ledger.committed": "after it, before anything is announced or woken",
    "ledger.announced": "after that, before the producers are answered",
    "drain.commit": "before outcomes are recorded and rows claimed",
    "drain.claimed": "after a claim, before anything of it is sent",
    "drain.answered": "after endpoints have answered, before it is recorded",
}
_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_ENTRY = re.compile(r"([a-z.]+):([a-z]+)@(?:([1-9]\d{0,8})|(/.*))")


@dataclass(slots=True)
class Failpoint:
    """What happens at one place. at_pass: when a process gets there for so many times; at_file: when this is there."""

    action: signal.Signals
    at_pass: int | None = None
    at_file: str | None = None
    passes: int = 0

    def is_now(self) -> bool:
        """A process gets there: whether it has to act."""
        self.passes += 1
        if self.at_file is None:
            return self.passes == self.at_pass
        try:
            os.unlink(self.at_file)
        except FileNotFoundError:
            return False
        return True


def parse(text: str) -> dict[str, list[Failpoint]]:
    """Failpoints by name, out of the variable's text. Raises ValueError."""
    found: dict[str, list[Failpoint]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        parts = _ENTRY.fullmatch(entry)
        if parts is None or parts[2] not in _ACTIONS:
            raise ValueError(f"has {entry!r}; write point:kill@3 or point:stop@/path/of/a/file")
        if parts[1] not in POINTS:
            raise ValueError(f"has no point {parts[1]!r}; there are {', '.join(POINTS)}")
        at_pass = int(parts[3]) if parts[3] else None
        found.setdefault(parts[1], []).append(Failpoint(_ACTIONS[parts[2]], at_pass, parts[4]))
    return found


def complaints(environ: Mapping[str, str]) -> list[str]:
    """Why a process with this environment must not start, as sentences for the operator; empty when it may."""
    text = environ.get(VARIABLE, "")
    if not text:
        return []
    if not any(environ.get(name) for name in ALLOWED_BY):
        return [f"{VARIABLE} kills processes on purpose: unset it, or set {ALLOWED_BY[0]}=1 where that is a test"]
    try:
        parse(text)
    except ValueError as error:
        return [f"{VARIABLE} {error}"]
    return []


def reach(name: str) -> None:
    """Mark a place, one of POINTS. Costs a look-up in an empty dictionary where there are no failpoints."""
    for point in _armed().get(name, ()):
        if point.is_now():
            os.kill(os.getpid(), point.action)


@lru_cache(maxsize=1)
def _armed() -> dict[str, list[Failpoint]]:
    return {} if complaints(os.environ) else parse(os.environ.get(VARIABLE, ""))
