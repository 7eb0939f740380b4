"""Signals that end a local run."""

from __future__ import annotations

import signal
import time
from types import FrameType

SECOND_SIGNAL_SECONDS = 0.5  # one Ctrl-C can arrive twice (terminal and make); a later one means "now"


class Stopped(BaseException):
    """A signal asked to stop. BaseException: no `except Exception` on the way may take it."""


def stop_on_signals() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into Stopped, wherever the program then is."""
    last = 0.0

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        repeated = time.monotonic() - last < SECOND_SIGNAL_SECONDS
        last = time.monotonic()
        if not repeated:
            raise Stopped

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored: started by nohup, to outlive its terminal
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, handle)
