"""The product with a clock that stands still until a test moves it: TEST_CLOCK_FILE holds the monotonic seconds."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask

import app


def create_app() -> Flask:
    file = Path(os.environ["TEST_CLOCK_FILE"])
    return app.create_app(clock=lambda: float(file.read_text()))


class Clock:
    """The test's hand on it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._now = 1_000_000.0
        self.move(0)

    def move(self, seconds: float) -> None:
        """Let this much time pass at once."""
        self._now += seconds
        # Renamed into place: a reader never finds half a number.
        written = self._file.with_suffix(".new")
        written.write_text(repr(round(self._now, 3)))
        written.replace(self._file)
