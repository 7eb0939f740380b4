"""The hub's rounds run only where threads are greenlets, and nothing that a step raises ends them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.live import rounds
from app.live.connections import ConnectionCounts
from app.live.hub import Hub
from tests.live.scripted import Followed, MemoryLog, event, subscriber
from tests.processes import ROOT, START_SECONDS

# Three failures between two successes; then it has shown what it should.
PROGRAM = """
from gevent import monkey
monkey.patch_all()

import logging, os
import gevent
from app.live import rounds

logging.basicConfig(format="%(message)s")
runs = iter(["good", "bad", "bad", "bad", "good", "bad"])

def step():
    run = next(runs, None)
    if run is None:
        print("done", flush=True)
        os._exit(0)
    if run == "bad":
        raise ConnectionError("the database is away\\nand more")

rounds.repeat("a-round", 0.001, step)
gevent.sleep(20)
"""


def test_with_real_threads_the_hub_refuses_to_start_and_says_what_to_do() -> None:
    """The tests run without gevent's patches, as a server with another worker class would."""
    log, bus = MemoryLog(), Followed()
    log.append(1, event(1))
    hub = Hub(lambda on_batch: bus, log)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"needs? gevent.* real threads.*gunicorn -c gunicorn\.conf\.py"):
            hub.attach(1, "call_1", subscriber())
    assert (hub.subscribers(), hub.connections, bus.streams, log.reads) == ([], ConnectionCounts(), [], [])


def test_real_threads_are_told_from_greenlets() -> None:
    with pytest.raises(RuntimeError):
        rounds.require_greenlets()
    patched = "from gevent import monkey; monkey.patch_all(); from app.live import rounds; rounds.require_greenlets()"
    subprocess.run([sys.executable, "-c", patched], cwd=ROOT, check=True, timeout=START_SECONDS)


def test_a_step_that_fails_is_run_again_and_an_outage_is_logged_once() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True, timeout=START_SECONDS
    )
    assert ran.stdout == "done\n"
    assert ran.stderr.splitlines() == ["a-round: ConnectionError: the database is away"] * 2
