"""Counts every request, and shows this server's metrics in Prometheus's format.

With PROMETHEUS_MULTIPROC_DIR set they are those of all web processes of the server together; else of this one.
"""

from __future__ import annotations

import os
import time

from flask import Flask, Response, g, request
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
    g.began = time.perf_counter()


def _count(response: Response) -> Response:
    # The rule, not the path: labels must be few, and hold no ids or query strings.
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.method in _METHODS else "other"
    REQUESTS.labels(method, route, str(response.status_code)).inc()
    if "began" in g:
        SECONDS.labels(method, route).observe(time.perf_counter() - g.began)
    return response


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
