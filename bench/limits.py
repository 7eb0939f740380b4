"""What each step of an event's way takes at least on this machine, with the libraries that the product uses."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing

import psycopg
import pycurl
import redis

from bench import histogram, requests_sent
from bench.programs import Receiver, post
from bench.stage import Result, Stage

Sizes = Mapping[str, float]
EVENT_BYTES = 280
LOG_BYTES = 8192  # PostgreSQL writes its log in pages of this size


def limits(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Microseconds of an fsync, a loopback exchange, a PostgreSQL and a Redis round trip, a POST by libcurl."""
    count, result = int(sizes["count"]), Result()
    figures = result.figures
    with (stage.directory / "fsync").open("wb", buffering=0) as file:
        figures["fsync_us"] = _median_us(count, lambda: _flush(file.fileno()))
    with closing(psycopg.connect(stage.engines.postgres.url, autocommit=True)) as connection:
        ask = connection.cursor()
        figures["postgres_us"] = _median_us(count, lambda: ask.execute("SELECT %s::int", (1,), prepare=True))
        connection.execute("CREATE TABLE IF NOT EXISTS bench_limits (id bigserial PRIMARY KEY, body text)")
        insert, body = "INSERT INTO bench_limits (body) VALUES (%s)", ("x" * EVENT_BYTES,)
        figures["insert_us"] = _median_us(count, lambda: ask.execute(insert, body, prepare=True))
    with redis.Redis.from_url(stage.engines.redis.url) as client:
        figures["redis_us"] = _median_us(count, lambda: client.xadd("bench:limits", {"b": body[0]}, maxlen=100))
        client.delete("bench:limits")
    with Receiver() as server:
        answer = post(server.port, requests_sent.post_event(""), connections=1, count=count)
        figures["loopback_us"] = 1000 * (histogram.percentile(answer["latency"], 0.5) or 0.0)
        url = server.url("ok", 0)
        with closing(pycurl.Curl()) as curl:
            curl.setopt(pycurl.URL, url)
            curl.setopt(pycurl.POSTFIELDS, "x" * EVENT_BYTES)
            curl.setopt(pycurl.WRITEFUNCTION, lambda _: None)
            before = time.process_time()
            figures["libcurl_us"] = _median_us(count, curl.perform)
            figures["libcurl_cpu_us"] = 1e6 * (time.process_time() - before) / count
    return result


def _flush(file: int) -> None:
    os.write(file, bytes(LOG_BYTES))
    os.fdatasync(file)


def _median_us(count: int, do: Callable[[], object]) -> float:
    do()  # connections, prepared statements
    found = []
    for _ in range(count):
        began = time.perf_counter()
        do()
        found.append(time.perf_counter() - began)
    return 1e6 * statistics.median(found)
