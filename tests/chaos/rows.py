"""Rows are locked, damaged or deadly; endpoints hang. Whoever else there is must not notice."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from app.client.books.records import Posted
from app.core.sealing import NONCE_BYTES, seal
from tests.chaos import delivery_rows, engines
from tests.chaos.product import SETTINGS, children_of
from tests.chaos.stage import Effect, Spared, Stage
from tests.chaos.traffic import KIND, Tenant, killing_sender
from tests.processes import eventually

LOCKED_SECONDS = 12.0  # longer than anybody else may have to wait
IN_FLIGHT, MOST_IN_FLIGHT_SECONDS = 8, 2.5  # an attempt may take 3 s
POISON_SECONDS = 90.0  # six claims, each lost with its worker and due again when its lease ends
NEIGHBOURS, NEIGHBOUR_SECONDS = 8, 0.3  # what is claimed beside the poison, still in flight when that comes
DAMAGED_SECONDS = 12.0  # longer than anybody else may have to wait
HANGING = 500
HANG_SECONDS = 12.0
OTHER_KIND = "other"
WORKER_CRASH = "worker_crash"


def lock_stream(stage: Stage) -> Effect:
    locked = stage.traffic.tenants[0].streams[0]
    query = "SELECT FROM streams WHERE kind = %s AND external_id = %s FOR UPDATE"
    return _lock(stage, query, list(locked), lambda post: post.stream != locked)


def lock_deliveries(stage: Stage) -> Effect:
    """Those of one customer that are in flight: their outcomes come while the rows are locked."""
    tenant, gate, waiting = stage.traffic.tenants[0], threading.Event(), []

    def later(port: int) -> int:
        waiting.append(port)
        gate.wait(MOST_IN_FLIGHT_SECONDS)
        return 204

    with _answering(tenant, later):
        # More than one connection: more than one process has outcomes to record.
        eventually(lambda: len(set(waiting)) >= IN_FLIGHT, 10, about="deliveries are in flight")
        return _lock(stage, delivery_rows.LOCK_PENDING, [tenant.endpoint_id], _not_of(tenant), gate.set)


def lock_endpoint(stage: Stage) -> Effect:
    tenant = stage.traffic.tenants[0]
    query = "SELECT FROM endpoints WHERE id = %s FOR UPDATE"
    return _lock(stage, query, [tenant.endpoint_id], _not_of(tenant))


def poison(stage: Stage) -> Effect:
    """A delivery that kills whatever sends it, until the product gives it up. Others were claimed together with it."""
    tenant = stage.traffic.tenants[0]
    customer, url = stage.traffic.receivers.add(f"poison-{uuid.uuid4().hex}")
    customer.page = tenant.customer.page
    customer.answer = killing_sender(lambda: children_of(stage.product.worker.pid))
    with _endpoint(stage, tenant, url) as endpoint_id, _answering(tenant, _after(NEIGHBOUR_SECONDS)):
        began = time.monotonic()
        event = {"stream": {"kind": OTHER_KIND, "id": uuid.uuid4().hex}, "type": "chaos.poison", "data": {}}
        stage.traffic.post_together(tenant, NEIGHBOURS, [event])

        def status() -> Any:
            return stage.product.sql(delivery_rows.ENDED, [endpoint_id])

        ended = eventually(status, POISON_SECONDS, about="the poison is given up", poll_seconds=0.2)
        if ended[0][0] != "failed" or not ended[0][1].startswith(WORKER_CRASH):
            stage.faults.append(f"the poison ended as {ended[0]}")
    return Effect(began)


def damage_headers(stage: Stage) -> Effect:
    """Sealed headers that are a list, where an object belongs."""
    sealed = seal(SETTINGS["SECRET_KEY"], json.dumps(["no", "object"]).encode(), os.urandom(NONCE_BYTES))
    return _damage(stage, [("sealed_headers", sealed)])


def damage_rates(stage: Stage) -> Effect:
    """Rate limits, and the state kept of one, that make no sense."""
    return _damage(stage, [("rate_limit", 0), ("rate_limit", -1), ("rate_tat", float("nan"))])


def hang(stage: Stage) -> Effect:
    """Many endpoints begin to hang at the same moment."""
    tenant = stage.traffic.tenants[0]
    with _black_hole() as port:
        made = []
        for number in range(HANGING):
            wanted = {"url": f"http://127.0.0.1:{port}/{number}", "stream_kinds": [OTHER_KIND]}
            made.append(stage.product.ask("POST", "/v1/endpoints", wanted, key=tenant.key).json()["id"])
        began = time.monotonic()
        _post_other(stage, tenant, 4)
        stage.pass_time(HANG_SECONDS)
        stage.product.sql("DELETE FROM endpoints WHERE id = ANY(%s)", [made])
    return Effect(began)


def _lock(
    stage: Stage, query: str, values: list[Any], spared: Spared, locked: Callable[[], object] = lambda: None
) -> Effect:
    """Hold rows locked for some seconds. locked: called when they are."""
    with psycopg.connect(stage.product.database_url, options=engines.OURS) as connection:
        connection.execute(query.encode(), values)
        locked()
        began = time.monotonic()
        stage.pass_time(LOCKED_SECONDS)
        connection.rollback()
    return Effect(began, spared)


def _damage(stage: Stage, values: list[tuple[str, Any]]) -> Effect:
    """Endpoints beside the good one, for the same events, each with one damaged column."""
    tenant, made = stage.traffic.tenants[0], []
    began = time.monotonic()
    for column, value in values:
        _, url = stage.traffic.receivers.add(f"damaged-{uuid.uuid4().hex}")
        wanted = {"url": url, "stream_kinds": [KIND], "rate_limit": 50}
        made.append(stage.product.ask("POST", "/v1/endpoints", wanted, key=tenant.key).json()["id"])
        with suppress(psycopg.errors.CheckViolation):  # then it cannot come to this
            stage.product.sql(f"UPDATE endpoints SET {column} = %s WHERE id = %s", [value, made[-1]])
    stage.pass_time(DAMAGED_SECONDS)
    for id in made:
        stage.product.ask("DELETE", f"/v1/endpoints/{id}", key=tenant.key)
    return Effect(began)


@contextmanager
def _endpoint(stage: Stage, tenant: Tenant, url: str) -> Iterator[str]:
    wanted = {"url": url, "stream_kinds": [OTHER_KIND]}
    id = stage.product.ask("POST", "/v1/endpoints", wanted, key=tenant.key).json()["id"]
    try:
        yield id
    finally:
        stage.product.ask("DELETE", f"/v1/endpoints/{id}", key=tenant.key)


@contextmanager
def _answering(tenant: Tenant, answer: Callable[[int], int]) -> Iterator[None]:
    """Let a tenant's customer answer like this."""
    usual, tenant.customer.answer = tenant.customer.answer, answer
    try:
        yield
    finally:
        tenant.customer.answer = usual


def _after(seconds: float) -> Callable[[int], int]:
    def answer(port: int) -> int:
        threading.Event().wait(seconds)
        return 204

    return answer


def _post_other(stage: Stage, tenant: Tenant, count: int) -> None:
    """Events that only a scenario's own endpoints hear of."""
    stream = {"kind": OTHER_KIND, "id": uuid.uuid4().hex}
    events = [{"stream": stream, "type": "chaos.other", "data": {"n": number}} for number in range(count)]
    assert stage.product.ask("POST", "/v1/events", events, key=tenant.key).status_code == 202


def _not_of(tenant: Tenant) -> Spared:
    def spared(post: Posted) -> bool:
        return post.stream not in tenant.streams

    return spared


@contextmanager
def _black_hole() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        taken: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in taken:
            connection.close()
