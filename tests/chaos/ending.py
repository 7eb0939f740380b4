"""Ctrl-C: a run ends what it has started, and nothing interrupts it in that."""

from __future__ import annotations

import signal
import sys
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_SECONDS = 0.5


class Ending:
    """Ends the process with SystemExit on a signal, once `listen` has been called.

    Python drops an exception that comes up in a finalizer, so it is raised again and again until `ignore` is called.
    """

    def __init__(self) -> None:
        self._number = 0

    def listen(self) -> None:
        """From now on signals end the run; those that are ignored, as under nohup, do not."""
        signal.signal(signal.SIGALRM, self._end)
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._end)

    def ignore(self) -> None:
        """From now on signals do nothing: everything is being ended."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._number and signal.getsignal(self._number) != signal.SIG_IGN:
            print("\nending what was started …", file=sys.stderr, flush=True)
        for number in (*ENDING, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self._number = self._number or number
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        sys.exit(128 + self._number)
