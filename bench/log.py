"""The delivery log when it is long: every filter, alone and in twos, asked over HTTP."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import cast
from urllib.parse import urlencode

import requests

from bench import log_rows
from bench.contenders.product import Product
from bench.programs import BenchError
from bench.stage import Result, Stage
from bench.stand import sql

Sizes = Mapping[str, float]
Choice = tuple[str, dict[str, str]]  # the filter that it is one of, and its parameters
WORKSPACE = "workspace"  # a parameter that is a header

# What is asked for: of the big customer and of a small one, of the endpoint with most deliveries and of another.
KNOWN = f"""
SELECT (SELECT id FROM workspaces WHERE uid = '{log_rows.BIG}'),
  (SELECT id FROM workspaces WHERE uid = '{log_rows.SMALL}'),
  (SELECT id FROM endpoints WHERE url LIKE '%/{log_rows.BIG}/0'),
  (SELECT id FROM endpoints WHERE url LIKE '%/{log_rows.SMALL}/3'),
  (SELECT event_id FROM deliveries WHERE status = 'failed' ORDER BY id LIMIT 1)
"""


def choices(big: str, small: str, hot: str, cold: str, event: str, now: datetime) -> list[Choice]:
    """Each filter with values that are common and values that are rare."""
    found: list[Choice] = [(WORKSPACE, {WORKSPACE: id}) for id in (big, small)]
    found += [("endpoint", {"endpoint_id": id}) for id in (hot, cold)]
    found += [("event", {"event_id": event})]
    found += [("stream", {"stream_kind": "call", "stream_id": id}) for id in ("call_0", "call_57")]
    found += [("status", {"status": one}) for one in ("pending", "failed", "delivered", "cancelled", "failed,pending")]
    found += [("type", {"event_type": one}) for one in ("call.started", "user.*", log_rows.RARE_TYPE)]
    outcomes = ("success", "http_error", "timeout", "tls_error", "blocked_address")
    found += [("outcome", {"outcome": one}) for one in outcomes]
    found += [("code", {"status_code": one}) for one in ("2xx", "4xx", "5xx", "404", str(log_rows.RARE_CODE))]
    long_ago = now - timedelta(days=30)
    spans = (
        {"since": now - timedelta(hours=1)},
        {"until": now - timedelta(days=60)},
        {"since": long_ago, "until": long_ago + timedelta(hours=1)},
    )
    return found + [("time", {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in span.items()}) for span in spans]


def questions(found: list[Choice]) -> Iterator[dict[str, str]]:
    """No filter, each alone, and each two that are not of the same kind."""
    yield {}
    yield from (given for _, given in found)
    for (one, first), (other, second) in itertools.combinations(found, 2):
        if one != other:
            yield first | second


def long_log(stage: Stage, name: str, sizes: Sizes) -> Result:
    """How long each question takes, some times each; the answers' percentiles, and the slowest question's median."""
    product, result = cast(Product, stage.of("logged")), Result()
    for kind in ("worker", "beat"):  # nothing is to be delivered
        product.stop_kind(kind)
    log_rows.store(product.database_url, int(sizes["attempts"]))
    known = (str(value) for value in sql(product.database_url, KNOWN)[0])
    times: list[float] = []
    slowest = 0.0
    with requests.Session() as session:
        for question in questions(choices(*known, now=datetime.now(UTC))):
            took = [_ask(session, product, question) for _ in range(int(sizes["times"]) + 1)][1:]  # the first warms up
            times += took
            slowest = max(slowest, statistics.median(took))
    times.sort()
    result.figures |= {f"answer_p{share}": times[len(times) * share // 100] for share in (50, 95, 99)}
    result.figures |= {"answers": float(len(times)), "slowest_question": slowest}
    stage.end("logged")
    return result


def _ask(session: requests.Session, product: Product, question: Mapping[str, str]) -> float:
    """Milliseconds until a page of the log was there."""
    given = dict(question)
    headers = {"Authorization": f"Bearer {product.platform_key}"}
    if WORKSPACE in given:
        headers["X-Workspace"] = given.pop(WORKSPACE)
    began = time.perf_counter()
    answer = session.get(f"{product.base_url}/v1/deliveries?{urlencode(given)}", headers=headers, timeout=60)
    took = 1000 * (time.perf_counter() - began)
    if not answer.ok:
        raise BenchError(f"{question}: {answer.status_code} {answer.text[:300]}")
    return took
