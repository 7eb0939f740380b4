"""Loads of viewers: how many frames one process delivers, and what an idle connection costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from bench import cpu, requests_sent
from bench.bus import Bus
from bench.contenders.contender import Contender
from bench.contenders.product import Product
from bench.programs import BenchError, Posting, Viewers, post
from bench.stage import Meter, Result, Stage

Sizes = Mapping[str, float]
STEP = 1.4  # the next rate that is offered
MOST_STEPS = 8
KEPT = 0.9  # of the offered rate: what delivers less has reached its limit
SETTLE_SECONDS = 5.0  # for frames that are late
BATCH = 100  # events a request, where the contender takes batches
# Events a second that are offered first: each contender's limit should be some steps away.
FIRST = {"twofold": 400.0, "nchan": 60.0, "plain": 15.0}


@dataclass(frozen=True)
class Offer:
    """What one step has offered: frames, from when (seconds since 1970), within how many seconds."""

    frames: int
    began: float
    seconds: float


def one_stream(stage: Stage, name: str, sizes: Sizes) -> Result:
    """One stream, many SSE viewers: frames a second at most."""
    contender = _with_streams(stage, name, 1)
    with _viewers(contender, int(sizes["viewers"]), 1) as viewers:
        return _climb(stage, contender, viewers, sizes, name)


def websockets(stage: Stage, name: str, sizes: Sizes) -> Result:
    """The same over WebSockets."""
    contender = _with_streams(stage, name, 1)
    path = contender.live_path().removesuffix("/live") + "/ws"
    request = requests_sent.websocket(path, contender.key)
    with Viewers(contender.port, request, int(sizes["viewers"]), streams=1, websocket=1) as viewers:
        return _climb(stage, contender, viewers, sizes, name)


def many_streams(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Many streams with a viewer each, events put on the bus directly: events a second at most of one process."""
    streams = int(sizes["viewers"])
    contender = cast(Product, _with_streams(stage, name, streams))
    result = Result()
    bus = Bus(contender, streams)
    try:
        with _viewers(contender, streams, streams) as viewers:
            rate = sizes["first"]
            for _ in range(MOST_STEPS):
                viewers.report()
                with Meter(contender) as meter:
                    began = time.time()
                    count = bus.put(rate, sizes["seconds"])
                    # What the bus has taken later than it should is not the product's fault.
                    offer = Offer(count, began, max(count / rate, time.time() - began))
                    viewers.wait_for("frames", count, SETTLE_SECONDS)
                if not _step(result, viewers, meter, offer):
                    break
                rate *= STEP
    finally:
        bus.close()
    return result


def connections(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Idle viewers of streams of their own: memory and CPU of each; then one event to each at once."""
    count, result = int(sizes["viewers"]), Result()
    contender = cast(Product, _with_streams(stage, name, count))
    bus = Bus(contender, count)
    web = contender.kinds()["web"]
    with Meter(contender) as empty:  # what a process without viewers uses is not theirs
        time.sleep(sizes["seconds"] / 2)
    resident, kernel = cpu.resident_kib(web), cpu.kernel_kib()
    try:
        with _viewers(contender, count, count) as viewers:
            result.figures["opening_ms_each"] = 1000 * viewers.opened["opening_seconds"] / count
            result.figures["resident_kib_each"] = (cpu.resident_kib(web) - resident) / count
            # Both ends of each connection are on this machine, and one of them is the viewer's.
            result.figures["kernel_kib_each"] = max(0, cpu.kernel_kib() - kernel) / 2 / count
            result.figures["kib_each"] = result.figures["resident_kib_each"] + result.figures["kernel_kib_each"]
            time.sleep(min(3.0, sizes["seconds"]))
            with Meter(contender) as meter:
                time.sleep(sizes["seconds"])
            more = meter.used["web"] / meter.seconds - empty.used["web"] / empty.seconds
            result.figures["idle_us_each_second"] = 1e6 * max(0.0, more) / count
            viewers.report()
            began = time.time()
            bus.put_one_each()
            viewers.wait_for("reached", count, 10 * SETTLE_SECONDS)
            seen = viewers.report()
            result.figures["not_reached"] = count - seen["reached"]
            result.figures["all_reached_seconds"] = seen["last_us"] / 1e6 - began
            result.latencies("frame", seen["latency"])
    finally:
        bus.close()
    return result


def _with_streams(stage: Stage, name: str, streams: int) -> Contender:
    """A contender of one web process with so many streams, whose announcements are the last on its bus."""
    contender = stage.single(name)
    contender.fresh()
    if name != "nchan":
        contender.publish(streams, streams, stage.numbers(streams))
    return contender


@contextmanager
def _viewers(contender: Contender, count: int, streams: int) -> Iterator[Viewers]:
    request = requests_sent.watch(contender.live_path(), contender.key)
    with Viewers(contender.port, request, count, streams=streams) as viewers:
        yield viewers


def _climb(stage: Stage, contender: Contender, viewers: Viewers, sizes: Sizes, name: str) -> Result:
    """Offer more and more until the frames do not follow."""
    result, viewers_count = Result(), viewers.opened["open"]
    batch = BATCH if name == "twofold" else 1
    if batch > 1:
        request = requests_sent.post_lines(contender.key, batch)
    else:
        path = "/v1/events/s00000000" if name == "nchan" else "/v1/events"
        request = requests_sent.post_event(contender.key, path=path)
    post(contender.port, request, connections=4, count=2, streams=1, number=stage.numbers(2 * batch))
    viewers.wait_for("frames", 2 * batch * viewers_count, SETTLE_SECONDS)
    rate = FIRST[name]
    for _ in range(MOST_STEPS):
        requests = max(2, round(rate * sizes["seconds"] / batch))
        viewers.report()
        number = stage.numbers(requests * batch)
        options = {"rate": rate / batch, "count": requests, "seconds": sizes["seconds"], "patience": SETTLE_SECONDS}
        with (
            Meter(contender) as meter,
            Posting(contender.port, request, connections=16, streams=1, number=number, **options) as posting,
        ):
            began = posting.result()["first_us"] / 1e6
            count = requests * batch * viewers_count
            viewers.wait_for("frames", count, SETTLE_SECONDS)
        if not _step(result, viewers, meter, Offer(count, began, requests * batch / rate)):
            break
        rate *= STEP
    return result


def _step(result: Result, viewers: Viewers, meter: Meter, offer: Offer) -> bool:
    """Enter what one rate gave, if it is the most so far; whether a higher one should be tried."""
    seen = viewers.report()
    if not seen["frames"]:
        raise BenchError("no frame has arrived")
    took = max(seen["last_us"] / 1e6 - offer.began, offer.seconds)
    delivered = seen["frames"] / took
    if delivered > result.figures.get("rate", 0.0):
        result.figures["rate"] = delivered
        result.figures["frames_a_cpu_second"] = seen["frames"] / max(meter.used["web"], 1e-3)
        result.figures["viewers_share"] = seen["cpu"] / took
        result.latencies("frame", seen["latency"])
    return bool(seen["frames"] >= offer.frames and delivered >= KEPT * offer.frames / offer.seconds)
