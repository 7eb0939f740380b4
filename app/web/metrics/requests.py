"""Counts every request, and shows this server's metrics in Prometheus's format.

With PROMETHEUS_MULTIPROC_DIR set they are those of all web processes of the server together; else of this one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import lru_cache

from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REQUESTS = Counter("twofold_http_requests", "Requests answered, by route and status.", ["method", "route", "status"])
# A stream is timed until its first byte. The buckets reach from a cached read to where gateways give up.
SECONDS = Histogram(
    "twofold_http_request_seconds",
    "Time until an answer began.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def install(app: Flask) -> None:
    """Count every request of the app."""
    app.before_request(_start)
    app.after_request(_count)


def exposition() -> bytes:
    """The metrics in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    of_all_processes = CollectorRegistry()
    MultiProcessCollector(of_all_processes)  # type: ignore[no-untyped-call]
    return generate_latest(of_all_processes)


def sum_of(sample: str) -> float:
    """What the samples of this name add up to, over all labels; of all web processes, where exposition() shows all."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return sum(one.value for metric in registry.collect() for one in metric.samples if one.name == sample)


def text(lines: bytes) -> Response:
    """Metrics as a response."""
    return Response(lines, content_type=CONTENT_TYPE_LATEST)


def _start() -> None:
    request.environ[_BEGAN] = time.perf_counter()


def _count(response: Response) -> Response:
    now = time.perf_counter()
    # The rule, not the path: labels must be few, and hold no ids or query strings.
    rule, environ = request.url_rule, request.environ
    count, observe = _figures(environ["REQUEST_METHOD"], rule.rule if rule else "none", response.status_code)
    count()
    if _BEGAN in environ:
        observe(now - environ[_BEGAN])
    return response


@lru_cache(maxsize=1000)
def _figures(method: str, route: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
    """What counts and what times such requests: looking labels up costs more than counting."""
    method = method if method in _METHODS else "other"
    return REQUESTS.labels(method, route, str(status)).inc, SECONDS.labels(method, route).observe


_BEGAN = "twofold.began"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"})
