"""Loads of endpoints that keep order: what order costs, what a blocked lane costs the others, how long claims take."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import psycopg

from app.core.webhook.fairness import Slots
from app.delivery.claims import DATABASE_OPTIONS, Claimer
from bench import histogram, requests_sent
from bench.contenders.product import BATCH, Product
from bench.histogram import Pairs
from bench.programs import BenchError, post
from bench.stage import Meter, Result, Stage
from bench.stand import sql

Sizes = Mapping[str, float]
STREAM = {"order": "stream"}
ARRIVAL_SECONDS = 3600.0
UNDER_WAY = 20  # of a backlog this part is gone when measuring begins: whoever works it off had to notice that it may
SLICES = 4  # of each kind, taking turns: a neighbour's noise meets both
BLOCKED_ROWS = 1000  # behind the head of the blocked lane
# The blocked head is tried each two seconds: as often as somebody who is impatient asks for.
IMPATIENT = {"retry_delays_seconds": [2] * 20}
STREAMS = 100
ROOM = 32  # rows of one claim: as many transfers as an endpoint may have by default

# As the first claims leave it: they put away what is not the first of its lane, a thousand rows each.
PUT_AWAY = "SELECT park_waiting(ARRAY[%s]::text[], '-infinity', 1000)"
# As a refusal leaves it: the head is due later.
BLOCK_HALF = "UPDATE due SET due_at = now() + interval '1 hour' WHERE due_at <= now() AND stream_id % 2 = 0"


def in_order(stage: Stage, name: str, sizes: Sizes) -> Result:
    """A backlog of many streams for one endpoint, which keeps their order (name: ordered) or not (unordered)."""
    return _worked_off(stage, stage.product, sizes, STREAM if name == "ordered" else {})


def unordered(stage: Stage, name: str, sizes: Sizes) -> Result:
    """The same without order, by this product or by what it was before it knew any (name: before)."""
    return _worked_off(stage, cast(Product, stage.of(name)), sizes, {})


def _worked_off(stage: Stage, product: Product, sizes: Sizes, options: Mapping[str, Any]) -> Result:
    """Hold a backlog back by a rate limit, and let it go: deliveries a second, and what each costs."""
    result, label = Result(), stage.label()
    product.fresh()
    endpoint = product.register(stage.receiver.url("ok", label), **options)
    due, streams = int(sizes["due"]), int(sizes["streams"])
    product.publish(BATCH, streams, stage.numbers(BATCH))
    stage.receiver.wait_for(label, BATCH, ARRIVAL_SECONDS)
    stage.receiver.report()
    product.ask("PATCH", f"/v1/endpoints/{endpoint}", {"rate_limit": 1})
    product.publish(due, streams, stage.numbers(due))
    come = stage.receiver.report()["labels"].get(str(label), {}).get("distinct", 0)
    product.ask("PATCH", f"/v1/endpoints/{endpoint}", {"rate_limit": None})
    stage.receiver.wait_for(label, due // UNDER_WAY, ARRIVAL_SECONDS)
    with Meter(product) as meter:
        come += stage.receiver.report()["labels"][str(label)]["distinct"]
        stage.receiver.wait_for(label, due - come, ARRIVAL_SECONDS)
    books = stage.receiver.report()["labels"][str(label)]
    result.figures["rate"] = (books["distinct"] - 1) / max((books["last_us"] - books["first_us"]) / 1e6, 1e-3)
    result.costs(meter, books["distinct"])
    return result


def blocked_lane(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Webhooks of an endpoint that keeps order while one of its lanes is blocked, and of one where none is."""
    product, result = stage.product, Result()
    sides = {blocked: _side(stage, product, blocked) for blocked in (False, True)}
    pairs: dict[bool, list[Pairs]] = {False: [], True: []}
    for _, blocked in zip(range(2 * SLICES), _taking_turns(), strict=False):
        product.key, label = sides[blocked]
        count = max(1, round(sizes["rate"] * sizes["seconds"]))
        options = {"rate": sizes["rate"], "count": count, "seconds": sizes["seconds"], "number": stage.numbers(count)}
        stage.receiver.report()
        post(product.port, requests_sent.post_event(product.key), connections=32, streams=STREAMS, **options)
        stage.receiver.wait_for(label, count, ARRIVAL_SECONDS)
        pairs[blocked].append(stage.receiver.report()["labels"][str(label)]["latency"])
    result.latencies("free_webhook", histogram.merged(pairs[False]))
    result.latencies("blocked_webhook", histogram.merged(pairs[True]))
    for product.key, _ in sides.values():
        for endpoint in product.ask("GET", "/v1/endpoints")["data"]:
            product.ask("DELETE", f"/v1/endpoints/{endpoint['id']}")
    return result


def _taking_turns() -> Iterator[bool]:
    """free, blocked, blocked, free, and again."""
    while True:
        yield from (False, True, True, False)


def _side(stage: Stage, product: Product, blocked: bool) -> tuple[str, int]:
    """A workspace with an endpoint that keeps order; its key, and its books' label. What is of the stream `blocked` is
    refused."""
    label = stage.label()
    product.fresh()
    product.register(stage.receiver.url("lane", label), **STREAM, **IMPATIENT)
    warm = stage.numbers(STREAMS)
    post(product.port, requests_sent.post_event(product.key), count=STREAMS, streams=STREAMS, number=warm)
    stage.receiver.wait_for(label, STREAMS, ARRIVAL_SECONDS)
    if blocked:
        body = requests_sent.post_lines(product.key, BATCH, stream="blocked")
        post(product.port, body, count=BLOCKED_ROWS // BATCH, number=stage.numbers(BLOCKED_ROWS))
    return product.key, label


def claims(stage: Stage, name: str, sizes: Sizes) -> Result:
    """How long a claim takes at 200 lanes, half of them blocked, with many rows behind each head. Claims are made as a
    drain makes them, by SQL, and rolled back: all find the same."""
    product, result, label = cast(Product, stage.of("claimed")), Result(), stage.label()
    lanes = int(sizes["lanes"])
    for kind in ("worker", "beat"):
        product.stop_kind(kind)
    endpoint = product.register(stage.receiver.url("ok", label), **STREAM)
    product.publish(lanes * int(sizes["rows"]), lanes, stage.numbers(lanes * sizes["rows"]))
    while sql(product.database_url, PUT_AWAY, [endpoint])[0][0]:
        pass
    sql(product.database_url, BLOCK_HALF)
    times, taken = _claims(product.database_url, endpoint, int(sizes["times"]))
    wanted = min(ROOM, lanes // 2)
    if set(taken) != {wanted}:
        raise BenchError(f"claims took {min(taken)} to {max(taken)} rows, not {wanted}, of lanes that go on")
    result.latencies("claim", histogram.merged([[histogram.bucket_of(round(1e6 * one)), 1]] for one in times))
    result.figures["claim_max"] = 1000 * max(times)
    stage.end("claimed")
    return result


def _claims(database_url: str, endpoint: str, times: int) -> tuple[list[float], list[int]]:
    """Seconds, and rows, of each."""
    seconds, taken = [], []
    with psycopg.connect(database_url, options=DATABASE_OPTIONS) as connection:
        for number in range(times + 1):
            asked = Claimer(lease_seconds=60).ask(Slots(), time.monotonic())
            room = dict.fromkeys(asked["rooms"], ROOM)
            asked["known"], asked["answering"] = {endpoint: {"lane": "fast", **room}}, [endpoint]
            began = time.perf_counter()
            found = connection.execute(
                "SELECT * FROM drain_round(NULL::json, 3600, %s::jsonb)", (json.dumps(asked),)
            ).fetchall()
            if number:  # the first one compiles the function
                seconds.append(time.perf_counter() - began)
                taken.append(len(found) - 1)
            connection.rollback()
    return seconds, taken
