"""Loads in which somebody is a burden: is a healthy customer's webhook as quick as without?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench import requests_sent
from bench.contenders.product import Product
from bench.programs import Posting
from bench.stage import Result, Stage

Sizes = Mapping[str, float]
HEALTHY_RATE = 50  # the other customer's events/s
BATCH = 100
STREAMS = 50


def one_hangs(stage: Stage, name: str, sizes: Sizes) -> Result:
    """An endpoint that was healthy hangs while more and more becomes due for it."""
    product, burden = stage.product, Burden(stage, endpoints=1)

    def begin() -> Posting:
        burden.hang()
        return burden.publish(sizes["due"] / sizes["seconds"], sizes["seconds"])

    try:
        return _beside(stage, product, sizes["seconds"], begin)
    finally:
        burden.leave()


def many_hang(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Many endpoints that were healthy hang from one moment on, with ten deliveries each."""
    product, burden = stage.product, Burden(stage, endpoints=int(sizes["endpoints"]))

    def begin() -> Posting:
        burden.hang()
        return burden.publish(10, 1.0, batch=10)

    try:
        return _beside(stage, product, sizes["seconds"], begin)
    finally:
        burden.leave()


def big_tenant(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Another workspace publishes 2,000 events/s."""
    product, burden = stage.product, Burden(stage, endpoints=0)
    return _beside(stage, product, sizes["seconds"], lambda: burden.publish(sizes["rate"], sizes["seconds"]))


class Burden:
    """A workspace of its own, whose endpoints can hang."""

    def __init__(self, stage: Stage, endpoints: int) -> None:
        self._stage, self._product, self._label = stage, stage.product, stage.label()
        self._product.fresh()
        self._key = self._product.key
        self._endpoints = [self._product.register(stage.receiver.url("ok", self._label)) for _ in range(endpoints)]
        if endpoints:
            self._product.publish(1, 1, stage.numbers(1))
            stage.receiver.wait_for(self._label, endpoints, 60.0, figure="requests")

    def hang(self) -> None:
        """Its receiver answers no more."""
        self._stage.receiver.hang(self._label)

    def publish(self, rate: float, seconds: float, batch: int = BATCH) -> Posting:
        """Events for it, in batches, an open loop."""
        requests = max(1, round(rate * seconds / batch))
        body = requests_sent.post_lines(self._key, batch)
        number = self._stage.numbers(requests * batch)
        return Posting(
            self._product.port, body, connections=8, rate=rate / batch, count=requests, seconds=seconds,
            streams=STREAMS, number=number,
        )  # fmt: skip

    def leave(self) -> None:
        """Answer again, and cancel what is due."""
        self._stage.receiver.serve(self._label)
        for endpoint in self._endpoints:
            self._product.ask("DELETE", f"/v1/endpoints/{endpoint}", key=self._key)


def _beside(stage: Stage, product: Product, seconds: float, begin: Callable[[], Posting]) -> Result:
    """The healthy customer for some seconds without the burden, then with it, its first second included."""
    product.key = product.workspace()
    label, result = stage.label(), Result()
    product.register(stage.receiver.url("ok", label))
    request = requests_sent.post_event(product.key)
    for phase in ("before", "unloaded", "loaded"):
        count = max(1, round(HEALTHY_RATE * (seconds if phase != "before" else min(1.0, seconds))))
        number = stage.numbers(count)
        stage.receiver.report()
        burden = begin() if phase == "loaded" else None
        options = {"rate": HEALTHY_RATE, "count": count, "seconds": seconds, "number": number}
        with Posting(product.port, request, connections=64, streams=STREAMS, **options) as posting:
            answer = posting.result()
        stage.receiver.wait_for(label, count, 120.0)
        books = stage.receiver.report()["labels"][str(label)]
        if burden is not None:
            with burden:
                burden.result()
        if phase != "before":
            result.latencies(f"{phase}_webhook", books["latency"])
            result.latencies(f"{phase}_post", answer["latency"])
    return result
