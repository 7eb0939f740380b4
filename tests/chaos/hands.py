"""Several products under trial at once: a process for each, as a scenario mostly waits.

A hand is `python -m tests.chaos --hand`: it reads pieces of work from its standard input and writes verdicts to its
standard output, a JSON line each, and has engines and a product of its own.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TextIO

from tests.chaos.stage import Scenario
from tests.chaos.verdict import Verdict
from tests.chaos.work import Work
from tests.processes import ROOT

END_SECONDS = 120.0  # to stop engines and processes on a busy machine


def serve(do: Callable[[Scenario, int], Verdict], scenarios: Sequence[Scenario], asked: TextIO, told: TextIO) -> None:
    """Do what is asked for, line by line, until there is nothing more."""
    known = {one.name: one for one in scenarios}
    for line in asked:
        piece = json.loads(line)
        verdict = do(known[piece["scenario"]], piece["rounds"])
        print(json.dumps(asdict(verdict)), file=told, flush=True)


class Hands:
    """The processes, and a thread for each that hands it its work."""

    def __init__(self, number: int, options: Sequence[str], work: Work) -> None:
        """options: of the command line, for each of them."""
        self._work = work
        command = [sys.executable, "-m", "tests.chaos", *options, "--hand"]
        self._processes = [
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(number)
        ]
        self._threads = [threading.Thread(target=self._feed, args=(one,), daemon=True) for one in self._processes]

    def work(self) -> None:
        """Until everything is done. Raises RuntimeError when a hand ends by itself."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        broken = [status for one in self._processes if (status := one.wait(END_SECONDS))]
        if broken:
            raise RuntimeError(f"{len(broken)} of {len(self._processes)} processes ended by themselves: {broken}")

    def close(self) -> None:
        """End those that still run, and wait until each has ended what it started."""
        for one in self._processes:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
        for one in self._processes:
            with suppress(subprocess.TimeoutExpired):
                one.wait(END_SECONDS)

    def _feed(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        build: Any = None
        with suppress(BrokenPipeError), process.stdin as asked:
            while (piece := self._work.take(build)) is not None:
                began, build = time.monotonic(), piece[0].build
                print(json.dumps({"scenario": piece[0].name, "rounds": piece[1]}), file=asked, flush=True)
                answer = process.stdout.readline()
                if not answer:
                    return
                self._work.done(piece, Verdict(**json.loads(answer)), time.monotonic() - began)
