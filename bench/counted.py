"""What is counted rather than timed: SQL statements of an event, and what the load generator itself can do."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

from bench import requests_sent
from bench.programs import Receiver, post
from bench.stage import Result, Stage

Sizes = Mapping[str, float]
# `log_statement` writes one line for each that a client sends, in the simple or in the extended protocol. What a
# function does inside is not logged: it costs no round trip.
LINE = re.compile(r"^@@(?P<database>[^@]*)@(?P<program>[^@]*)@ LOG:  (?:statement|execute [^:]*): (?P<text>.*)$", re.M)


def statements(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Statements that PostgreSQL saw for one accepted and delivered event, alone; and in a second of idleness."""
    product, label, result = stage.product, stage.label(), Result()
    product.fresh()
    product.register(stage.receiver.url("ok", label))
    request = requests_sent.post_event(product.key)
    post(product.port, request, count=20, number=stage.numbers(20))
    stage.receiver.wait_for(label, 20, 60)
    database = urlsplit(product.database_url).path[1:]
    product.count_statements(True)
    try:
        time.sleep(0.5)
        idle = _counted(stage, database, sizes["seconds"])
        result.figures["idle_a_second"] = sum(idle.values()) / sizes["seconds"]
        for rate in (5, 50):
            count = max(2, round(rate * sizes["seconds"]))
            place = product.postgres_log.stat().st_size
            number = stage.numbers(count)
            post(product.port, request, rate=rate, count=count, seconds=sizes["seconds"], number=number)
            stage.receiver.wait_for(label, count, 60)
            time.sleep(1.0)  # what is recorded after the webhook
            seen = _since(stage, place, database)
            seconds = count / rate + 1.0
            total = sum(seen.values()) - result.figures["idle_a_second"] * seconds
            result.figures[f"an_event_at_{rate}"] = max(0.0, total) / count
            if rate == 5:
                result.figures |= {f"of_{kind}_an_event_at_5": seen[kind] / count for kind in sorted(seen)}
    finally:
        product.count_statements(False)
    return result


def _counted(stage: Stage, database: str, seconds: float) -> Counter[str]:
    place = stage.product.postgres_log.stat().st_size
    time.sleep(seconds)
    return _since(stage, place, database)


def _since(stage: Stage, place: int, database: str) -> Counter[str]:
    """Statements by their first word, from a place of the log on."""
    with stage.product.postgres_log.open("rb") as log:
        log.seek(place)
        text = log.read().decode(errors="replace")
    return by_first_word(text, database)


def by_first_word(text: str, database: str) -> Counter[str]:
    """Of PostgreSQL's log: statements in a database by their first word."""
    words = (match["text"].split()[:1] for match in LINE.finditer(text) if match["database"] == database)
    return Counter(found[0].strip(";").upper() for found in words if found)


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
