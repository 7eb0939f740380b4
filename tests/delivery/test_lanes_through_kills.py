"""Order as the receiver sees it, while the processes that deliver are killed and stand still.

ROUNDS: how many kills (by hand 50).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.core.event.drafts import Draft
from app.core.webhook.lanes import STREAM
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen
from tests.delivery.world import World
from tests.processes import ROOT, environment, eventually

WANTED = os.environ.get("ROUNDS")
ROUNDS = [int(WANTED)] if WANTED else [1, pytest.param(6, marks=pytest.mark.long)]
STREAMS = 12
NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
QUICK = {"SEND_TOTAL_SECONDS": "2", "LEASE_SECONDS": "5", "RETRY_DELAYS_SECONDS": "1,1,1,1,1,1"}


class Draining:
    """Two processes that drain."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = environment({**os.environ, **env, **QUICK})
        self.processes = [self._start() for _ in range(2)]

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.delivery.draining"]
        return subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=subprocess.PIPE, text=True)

    def await_all(self) -> None:
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def kill(self, number: int) -> None:
        process = self.processes[number]
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        self.processes[number] = self._start()

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def draining(env: dict[str, str]) -> Iterator[Draining]:
    made = Draining(env)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_receiver_sees_each_stream_in_order_through_kills_and_a_frozen_process(
    world: World, environ: dict[str, str], rounds: int
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice, lock = random.Random(seed), threading.Lock()
    came: dict[str, list[int]] = defaultdict(list)

    def answer(server: ScriptedServer, connection: Any, seen: Seen) -> bytes:
        body = json.loads(seen.body)
        with lock:
            came[body["stream"]["id"]].append(body["seq"])
            chance = dice.random()
        server.over.wait(0.002 if chance < 0.9 else 0.2)
        return NO if chance < 0.1 else OK

    with ScriptedServer(answer) as receiver, draining(environ) as both:
        world.endpoint(receiver.url, order=STREAM, order_patience_seconds=3600)
        both.await_all()
        for number in range(rounds):
            names = dice.choices([f"call_{n}" for n in range(STREAMS)], k=60)
            world.accept([Draft("call", name, "call.turn", "{}", {}, None, None) for name in names])
            if number == rounds // 2:
                both.processes[0].send_signal(signal.SIGSTOP)
                frozen_at = time.monotonic()
            victim = 1 if number >= rounds // 2 else dice.randrange(2)
            seen = sum(map(len, came.values()))
            eventually(lambda seen=seen: sum(map(len, came.values())) > seen, 30)
            both.kill(victim)
        eventually(lambda: time.monotonic() - frozen_at > 6, 10)  # its leases are over
        with lock:
            until_then = {name: len(seqs) for name, seqs in came.items()}
        both.processes[0].send_signal(signal.SIGCONT)
        eventually(
            lambda: world.statuses().keys() == {"delivered"}, 60 + rounds, about=lambda: str(world.statuses()),
            poll_seconds=0.2,
        )  # fmt: skip
    assert came.keys() == {row.external_id for row in world.sql("SELECT external_id FROM streams")}
    for name, seqs in came.items():
        assert seqs[: until_then.get(name, 0)] == sorted(seqs[: until_then.get(name, 0)]), (seed, name)
        # What the frozen process had begun to send goes out when it wakes: that once more, and nothing else.
        first_ones = list(dict.fromkeys(seqs))
        assert first_ones == sorted(first_ones), (seed, name, seqs)
        assert set(seqs) == set(range(1, max(seqs) + 1)), (seed, name)
