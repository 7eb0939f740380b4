"""Batches while the processes that send them are killed: every event arrives, as the same bytes each time, whatever the
receiver accepts of each batch.

ROUNDS: how many kills (by hand 50).
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import defaultdict
from typing import Any

import pytest

from app.core.event.drafts import Draft
from app.core.webhook.lanes import STREAM
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen
from tests.delivery.test_lanes_through_kills import NO, draining
from tests.delivery.world import World
from tests.processes import eventually

ROUNDS = int(os.environ.get("ROUNDS", "6"))
EVENTS = 300  # in each round
MANY = [1_000, pytest.param(10_000, marks=pytest.mark.long)]


def accepted(count: int) -> bytes:
    body = b'{"accepted": %d}' % count
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("count", MANY)
def test_many_events_come_in_a_twentieth_of_the_requests_and_each_once(world: World, count: int) -> None:
    came: list[str] = []

    def answer(server: ScriptedServer, connection: Any, seen: Seen) -> bytes:
        came.extend(event["id"] for event in json.loads(seen.body))
        return OK

    with ScriptedServer(answer) as receiver:
        world.endpoint(receiver.url, batch={"max_events": 100, "max_wait_ms": 200})
        events = [event.id for event in world.publish(count)]
        drain = world.drain()
        eventually(lambda: drain.run() is not None and len(came) >= count, 60, poll_seconds=0.02)
        drain.run()
    assert sorted(came) == sorted(events)
    assert len(receiver.seen) <= count / 20
    assert world.statuses() == {"delivered": count}


@pytest.mark.long
@pytest.mark.parametrize("order", [None, STREAM])
def test_nothing_is_lost_through_kills_and_prefixes_at_random(
    world: World, environ: dict[str, str], order: str | None
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice, lock = random.Random(seed), threading.Lock()
    has: dict[str, list[int]] = defaultdict(list)
    bodies: dict[str, set[str]] = defaultdict(set)

    def answer(server: ScriptedServer, connection: Any, seen: Seen) -> bytes:
        envelopes = json.loads(seen.body)
        with lock:
            some, all_of_them = dice.randrange(len(envelopes) + 1), len(envelopes)
            count = dice.choice([some, *[all_of_them] * 4])
            fails = dice.random() < 0.03
        server.over.wait(0.01)
        for place, one in enumerate(envelopes):
            with lock:
                bodies[one["id"]].add(json.dumps(one))
                if not fails and place < count:
                    has[one["stream"]["id"]].append(one["seq"])
        return NO if fails else accepted(count)

    with ScriptedServer(answer) as receiver, draining(environ) as both:
        world.endpoint(receiver.url, batch={"max_events": 40, "max_wait_ms": 50}, order=order)
        both.await_all()
        for _ in range(ROUNDS):
            names = dice.choices([f"call_{n}" for n in range(12)], k=EVENTS)
            world.accept([Draft("call", name, "call.turn", "{}", {}, None, None) for name in names])
            seen = sum(map(len, has.values()))
            eventually(lambda seen=seen: sum(map(len, has.values())) > seen, 30)
            both.kill(dice.randrange(2))

        def over() -> bool:
            world.make_due_now()
            return world.statuses().keys() == {"delivered"}

        eventually(over, 180 + ROUNDS, about=lambda: str(world.statuses()), poll_seconds=0.3)
    assert sum(len(set(seqs)) for seqs in has.values()) == ROUNDS * EVENTS
    assert all(len(spelled) == 1 for spelled in bodies.values())
    for name, seqs in has.items():
        first_ones = list(dict.fromkeys(seqs))
        assert set(seqs) == set(range(1, len(first_ones) + 1)), (seed, name)
        if order is not None:
            assert first_ones == sorted(first_ones), (seed, name)
