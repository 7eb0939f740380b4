"""Loads that take long: tables that grow, a snapshot that is held, a backlog that is worked off."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg
import requests

from bench import requests_sent, single
from bench.contenders.product import BATCH, Product
from bench.growth_rows import multiply
from bench.programs import BenchError, Posting, Viewers, post
from bench.stage import Meter, Result, Stage

Sizes = Mapping[str, float]
ARRIVAL_SECONDS = 24 * 3600.0
LIVE_RATE = 20.0  # events/s beside a backlog
STREAMS = 200
MOST_PUBLISHED = 100_000  # of a table that is to grow larger the rest are copies: minutes in place of hours


def growth(stage: Stage, name: str, sizes: Sizes) -> Result:
    """The delivered rate of a closed loop and its cost, empty, at a tenth of the rows, and with all of them.

    Of `rows` events half are delivered, a tenth wait for an endpoint that may be sent one a second. Then: a resume from
    far back, as many events as a tenth, and an event that many endpoints match.
    """
    product, result = stage.product, Result()
    rows, stored = int(sizes["rows"]), 0
    for target in (0, rows // 10, rows):
        _grow(stage, product, target - stored)
        stored = target
        step = single.crowd(stage, name, {"connections": 64, "seconds": sizes["seconds"]})
        result.figures[f"step_rate_at_{target}"] = step.figures["rate"]
        result.figures[f"step_cpu_at_{target}"] = step.figures["cpu"]
        result.latencies(f"step_webhook_at_{target}", step.histograms["webhook"])
    result.figures["rate_empty"] = result.figures["step_rate_at_0"]
    result.figures["rate_full"] = result.figures[f"step_rate_at_{rows}"]
    result.figures["resume_ms"] = _resume(stage, product, rows // 10)
    _match(stage, product, result, int(sizes["endpoints"]))
    stage.end(name)  # the next load begins with empty tables again
    return result


def _grow(stage: Stage, product: Product, count: int) -> None:
    """Events from outside, as any customer's; beyond MOST_PUBLISHED copies of them, by SQL."""
    if count > 0:
        copies = -(-count // MOST_PUBLISHED)
        workspaces = _store(stage, product, count // copies)
        if copies > 1:
            multiply(product.database_url, workspaces, copies)


def _store(stage: Stage, product: Product, count: int) -> list[str]:
    """Publish, and have half delivered; the workspaces."""
    product.fresh()
    workspaces = [product.workspace_id]
    label = stage.label()
    endpoint = product.register(stage.receiver.url("ok", label))
    half = _whole(count // 2)
    product.publish(half, STREAMS, stage.numbers(half))
    stage.receiver.wait_for(label, half, ARRIVAL_SECONDS)
    product.ask("PATCH", f"/v1/endpoints/{endpoint}", {"status": "disabled"})
    product.publish(_whole(count - half - count // 10), STREAMS, stage.numbers(count))
    # These stay due: the endpoint may be sent one a second.
    product.key = product.workspace()
    product.register(stage.receiver.url("ok", stage.label()), rate_limit=1)
    waiting = _whole(count // 10)
    product.publish(waiting, STREAMS, stage.numbers(waiting))
    return [*workspaces, product.workspace_id]


def _resume(stage: Stage, product: Product, count: int) -> float:
    """Milliseconds until a viewer that was `count` events behind has its first frame: the median of five."""
    product.key = product.workspace()
    product.publish(_whole(count), 1, stage.numbers(_whole(count)))
    url = product.base_url + product.live_path("s00000000") + "?after_seq=1"
    found = []
    for _ in range(5):
        began = time.monotonic()
        headers = {"Authorization": f"Bearer {product.key}"}
        with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
            for chunk in answer.iter_content(None):
                if b"data:" in chunk:
                    found.append(1000 * (time.monotonic() - began))
                    break
    return sorted(found)[len(found) // 2]


def _match(stage: Stage, product: Product, result: Result, endpoints: int) -> None:
    """CPU of a delivery where many endpoints match an event, and where one does."""
    for figure, count, events in (("one", 1, 10 * endpoints), ("many", endpoints, 10)):
        product.fresh()
        label = stage.label()
        for _ in range(count):
            product.register(stage.receiver.url("ok", label))
        stage.receiver.report()
        request = requests_sent.post_event(product.key)
        with Meter(product) as meter:
            post(product.port, request, connections=16, count=events, streams=STREAMS, number=stage.numbers(events))
            stage.receiver.wait_for(label, events * count, ARRIVAL_SECONDS, figure="requests")
        result.figures[f"delivery_cpu_match_{figure}"] = 1000 * meter.total / (events * count)


def held_snapshot(stage: Stage, name: str, sizes: Sizes) -> Result:
    """A transaction of another session holds its snapshot while `rate` deliveries/s go on."""
    product, result = stage.product, Result()
    product.fresh()
    label = stage.label()
    product.register(stage.receiver.url("ok", label))
    parts = 5
    _steady(stage, product, label, sizes["rate"], min(2.0, sizes["seconds"] / parts))
    free = _steady(stage, product, label, sizes["rate"], sizes["seconds"] / parts)
    with closing(psycopg.connect(product.database_url)) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("SELECT count(*) FROM pg_class")
        for _ in range(parts):
            held = _steady(stage, product, label, sizes["rate"], sizes["seconds"] / parts)
    for phase, (rate, books, cost) in (("free", free), ("held", held)):
        result.figures[f"{phase}_rate"] = rate
        result.figures[f"{phase}_cost"] = cost
        result.latencies(f"{phase}_webhook", books["latency"])
    return result


def _steady(
    stage: Stage, product: Product, label: int, rate: float, seconds: float
) -> tuple[float, dict[str, Any], float]:
    """`rate` deliveries/s for some seconds: those that arrived a second, their books, CPU ms of each."""
    batch = 10
    count = max(1, round(rate * seconds / batch))
    body = requests_sent.post_lines(product.key, batch)
    stage.receiver.report()
    number = stage.numbers(count * batch)
    options = {"rate": rate / batch, "count": count, "seconds": seconds, "number": number, "streams": STREAMS}
    with Meter(product) as meter:
        answer = post(product.port, body, connections=16, **options)
        stage.receiver.wait_for(label, count * batch, ARRIVAL_SECONDS)
    books = stage.receiver.report()["labels"][str(label)]
    arrived = books["requests"] / max((books["last_us"] - answer["first_us"]) / 1e6, 1e-3)
    return arrived, books, 1000 * meter.total / (count * batch)


def recovery(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Nobody delivers until `due` rows wait; then they are worked off while others publish and watch."""
    product, result = stage.product, Result()
    product.fresh()
    backlog, live = stage.label(), stage.label()
    product.register(stage.receiver.url("ok", backlog))
    due = _whole(int(sizes["due"]))
    product.publish(BATCH, STREAMS, stage.numbers(BATCH))
    stage.receiver.wait_for(backlog, BATCH, 60)
    rows_key = product.key
    product.key = product.workspace()
    product.register(stage.receiver.url("ok", live))
    product.publish(STREAMS, STREAMS, stage.numbers(STREAMS))
    request = requests_sent.watch(product.live_path(), product.key)
    with Viewers(product.port, request, STREAMS, streams=STREAMS) as viewers:
        free = _live(stage, product, viewers, sizes["seconds"])
        product.stop_kind("worker")
        live_key, product.key = product.key, rows_key
        product.publish(due, STREAMS, stage.numbers(due))
        product.key = live_key
        stage.receiver.report()
        busy: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: busy.append(_live(stage, product, viewers, sizes["seconds"])))
        with Meter(product) as meter:
            product.start("worker")
            stage.receiver.wait_for(backlog, 1, 60, figure="requests")
            thread.start()
            stage.receiver.wait_for(backlog, due, ARRIVAL_SECONDS)
        thread.join()
    books = stage.receiver.report()["labels"][str(backlog)]
    if not busy:
        raise BenchError("nothing was measured beside the backlog")
    result.figures["rate"] = due / max((books["last_us"] - books["first_us"]) / 1e6, 1e-3)
    result.costs(meter, due)
    result.latencies("free_frame", free["latency"])
    result.latencies("busy_frame", busy[0]["latency"])
    return result


def _live(stage: Stage, product: Product, viewers: Viewers, seconds: float) -> dict[str, Any]:
    """Events that are watched, a few a second; the viewers' report."""
    count = max(1, round(LIVE_RATE * seconds))
    viewers.report()
    number = stage.numbers(count)
    request = requests_sent.post_event(product.key)
    options = {"rate": LIVE_RATE, "count": count, "seconds": seconds, "number": number, "streams": STREAMS}
    with Posting(product.port, request, connections=16, **options) as posting:
        posting.result()
    viewers.wait_for("frames", count, 30)
    return viewers.report()


def _whole(count: int) -> int:
    """So many as whole batches."""
    return max(1, count // BATCH) * BATCH
