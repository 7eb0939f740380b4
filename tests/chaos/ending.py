"""Ctrl-C: a run ends what it has started, and nothing interrupts it in that."""

from __future__ import annotations

import signal
import sys
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Ends the process with SystemExit on a signal, once `listen` has been called."""

    def __init__(self) -> None:
        self._number = 0

    def listen(self) -> None:
        """From now on signals end the run; those that are ignored, as under nohup, do not."""
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._end)

    def check(self) -> None:
        """End the run if a signal has come: Python may drop the exception, as it does in a finalizer."""
        if self._number:
            sys.exit(128 + self._number)

    def ignore(self) -> None:
        """From now on signals do nothing: everything is being ended."""
        if self._number and signal.getsignal(self._number) != signal.SIG_IGN:
            print("\nending what was started …", file=sys.stderr, flush=True)
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        self.check()
