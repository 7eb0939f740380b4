"""What is counted rather than timed: the round trips of an event, and what the load generator itself can do."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

from bench import requests_sent
from bench.contenders.product import Product
from bench.programs import Receiver, post
from bench.stage import Result, Stage

Sizes = Mapping[str, float]
# `log_statement` writes one line for each that a client sends, in the simple or in the extended protocol. What a
# function does inside is not logged: it costs no round trip.
LINE = re.compile(r"^@@(?P<database>[^@]*)@[^@]*@ LOG:  (?:statement|execute [^:]*):\s+(?P<word>\S+)", re.M)
SETTLE_SECONDS = 1.0


def statements(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Round trips to PostgreSQL, and statements, for one accepted and delivered event; and in a second of idleness."""
    product, label, result = cast(Product, stage.of("counted")), stage.label(), Result()
    product.register(stage.receiver.url("ok", label))
    request = requests_sent.post_event(product.key)
    post(product.port, request, count=20, streams=20, number=stage.numbers(20))
    stage.receiver.wait_for(label, 20, 60)
    product.log_statements(True)
    try:
        time.sleep(SETTLE_SECONDS)
        books = _Books(product)
        time.sleep(sizes["seconds"])
        idle = books.ended()
        result.figures |= {f"{what}_idle_a_second": count / sizes["seconds"] for what, count in idle.items()}
        for rate in (5, 50):
            count = max(2, round(rate * sizes["seconds"]))
            books = _Books(product)
            number = stage.numbers(count)
            options = {"rate": rate, "count": count, "seconds": sizes["seconds"], "number": number}
            post(product.port, request, connections=16, streams=20, **options)
            stage.receiver.wait_for(label, count, 60)
            time.sleep(SETTLE_SECONDS)  # what is recorded after the webhook
            spent = sizes["seconds"] + SETTLE_SECONDS
            for what, seen in books.ended().items():
                beside = result.figures.get(f"{what}_idle_a_second", 0.0) * spent
                result.figures[f"{what}_an_event_at_{rate}"] = max(0.0, seen - beside) / count
    finally:
        product.log_statements(False)
        stage.end("counted")
    return result


class _Books:
    """What was counted since it was made."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._place, self._trips = product.postgres_log.stat().st_size, self._now()

    def _now(self) -> int:
        return self._product.relay.count if self._product.relay else 0

    def ended(self) -> dict[str, float]:
        """Round trips, and statements by their first word."""
        with self._product.postgres_log.open("rb") as log:
            log.seek(self._place)
            text = log.read().decode(errors="replace")
        words = by_first_word(text, urlsplit(self._product.database_url).path[1:])
        found = {f"statements_{word}": float(count) for word, count in sorted(words.items())}
        return {"round_trips": float(self._now() - self._trips), **found}


def by_first_word(text: str, database: str) -> Counter[str]:
    """Of PostgreSQL's log: statements in a database by their first word; an empty one is a ping."""
    found = ((match["database"], match["word"]) for match in LINE.finditer(text))
    return Counter(word.strip(";").upper() or "PING" for place, word in found if place == database)


def headroom(stage: Stage, name: str, sizes: Sizes) -> Result:
    """The load generator against a trivial server in C: what it could do at most."""
    result = Result()
    with Receiver() as server:
        request = requests_sent.post_event("")
        for connections in (16, 64):
            server.report()
            answer = post(server.port, request, connections=connections, seconds=sizes["seconds"])
            report = server.report()
            result.figures[f"rate_{connections}"] = answer["answered"] / answer["seconds"]
            result.figures[f"post_us_{connections}"] = 1e6 * answer["cpu"] / answer["answered"]
            result.figures[f"server_us_{connections}"] = 1e6 * report["cpu"] / answer["answered"]
    return result
