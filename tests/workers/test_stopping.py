"""A worker that is told to stop begins to within seconds, whatever it waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT

# A worker whose main thread waits for Redis, in one of the states of its blueprint.
SCRIPT = """if True:
    import sys, time
    from types import SimpleNamespace
    from celery import bootsteps
    from workers.consumer import stop_soon
    state = getattr(bootsteps, sys.argv[1])
    stop_soon(SimpleNamespace(blueprint=SimpleNamespace(state=state)), 0.05)
    try:
        time.sleep(0.5)
    except SystemExit as stopped:
        print(type(stopped).__name__, stopped.code)
    else:
        print("went on")
"""


@pytest.mark.parametrize(("state", "said"), [("RUN", "WorkerShutdown 0"), ("CLOSE", "went on")])
def test_what_a_worker_waits_for_is_broken_off_unless_it_is_ending(state: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, state], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (said, "")


# Its interpreter takes longer to end than until the alarm.
SLOW_END = """if True:
    import time
    from types import SimpleNamespace
    from celery import bootsteps
    from workers.consumer import stop_soon
    class Slow:
        def __del__(self):
            time.sleep(0.5)
    slow = Slow()
    slow.itself = slow
    stop_soon(SimpleNamespace(blueprint=SimpleNamespace(state=bootsteps.TERMINATE)), 0.2)
"""


def test_an_alarm_does_not_kill_a_worker_that_ends() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW_END], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
