"""/metrics: of all web processes together, and how the deliveries of all workers are doing."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import requests
from flask import Flask

from app import create_app
from app.database.connection import Database
from app.delivery.live_log import LogReader
from app.settings import Settings
from app.web.engine import engine_of
from app.web.metrics.deliveries import KEPT_SECONDS, DeliveryMetrics
from tests.conftest import StartServer
from tests.contracts.wire import get
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.processes import ROOT, RunningServer, eventually, free_port
from tests.web.doors import Door


def metric(text: str, name: str, **labels: str) -> float:
    """The only sample of this name with these labels; 0 when there is none."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    found = [
        float(value)
        for sample, given, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
        if sample == name and wanted <= set(given.split(","))
    ]
    assert len(found) <= 1, found
    return found[0] if found else 0.0


def scrape(server: RunningServer) -> str:
    # Each on a connection of its own, so that every process has its turn.
    return requests.get(f"{server.base_url}/metrics", headers={"Connection": "close"}, timeout=10).text


def of_app(app: Flask) -> str:
    return app.test_client().get("/metrics").get_data(as_text=True)


def open_streams(server: RunningServer, opened: ExitStack, count: int) -> None:
    address = "/v1/streams/call/c1"
    assert requests.put(server.base_url + address, headers=server.headers, timeout=10).status_code == 201
    for _ in range(count):
        stream = get(server.base_url, f"{address}/live", Authorization=f"Bearer {server.workspace_key}")
        opened.enter_context(stream)
        assert stream.status == 200


def test_all_processes_are_shown_together_and_a_dead_ones_streams_are_not(start_server: StartServer) -> None:
    server = start_server(WEB_CONCURRENCY="2")
    parent = psutil.Process(server.pid)
    eventually(lambda: len(parent.children()) == 2)
    with ExitStack() as opened:
        open_streams(server, opened, 12)
        holding = {child.pid: established(child, server) for child in parent.children()}
        assert sum(holding.values()) == 12
        for _ in range(4):  # whichever process answers
            eventually(lambda: metric(scrape(server), "twofold_subscribers") == 12)
        route = {"method": "GET", "route": "/v1/streams/<kind>/<stream_id>/live", "status": "200"}
        assert metric(scrape(server), "twofold_http_requests_total", **route) == 12
        victim, lost = max(holding.items(), key=lambda pair: pair[1])
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: metric(scrape(server), "twofold_subscribers") == 12 - lost)
        assert metric(scrape(server), "twofold_http_requests_total", **route) == 12
    eventually(lambda: metric(scrape(server), "twofold_subscribers") == 0)


def established(process: psutil.Process, server: RunningServer) -> int:
    port = int(server.env["PORT"])
    return sum(
        connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
        for connection in process.net_connections("tcp")
    )


def test_the_folder_of_metrics_goes_with_its_server_or_with_the_next_start(
    start_server: StartServer, tmp_path: Path
) -> None:
    killed = start_server()
    left = folder_of(killed)
    killed.web.kill_all()
    server = start_server()
    assert not left.exists()
    folder = folder_of(server)
    server.stop()
    assert not folder.exists()
    given = start_server(PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    scrape(given)
    given.stop()
    assert any(tmp_path.iterdir())


def folder_of(server: RunningServer) -> Path:
    scrape(server)
    (worker,) = psutil.Process(server.pid).children()
    (folder,) = {Path(file.path).parent for file in worker.memory_maps() if f"_{worker.pid}.db" in file.path}
    return folder


def test_what_the_workers_have_done_is_shown_by_every_web_process(product: RunningServer) -> None:
    before = scrape(product)
    with ScriptedServer(answering(OK)) as receiver:
        json = {"url": receiver.url, "event_types": ["counted"]}
        requests.post(f"{product.base_url}/v1/endpoints", json=json, headers=product.headers, timeout=10)
        event = {"stream": {"kind": "call", "id": "metrics"}, "type": "counted", "data": {}}
        requests.post(f"{product.base_url}/v1/events", json=[event] * 3, headers=product.headers, timeout=10)
        eventually(lambda: len(receiver.seen) == 3)

    def grown(name: str, **labels: str) -> bool:
        return metric(scrape(product), name, **labels) >= metric(before, name, **labels) + 3

    eventually(lambda: grown("twofold_attempts_total", outcome="success"), 10)
    assert grown("twofold_deliveries_ended_total", status="delivered")
    assert grown("twofold_events_accepted_total")


@pytest.fixture
def metrics_at(database: Database, settings: Settings) -> Callable[[float], str]:
    log = LogReader(settings.redis_url)
    now = [0.0]
    metrics = DeliveryMetrics(database, log, clock=lambda: now[0])

    def at(seconds: float) -> str:
        now[0] = seconds
        return metrics.exposition().decode()

    return at


def test_what_waits_is_counted_and_the_answer_kept_for_a_moment(
    acme: Door, database: Database, metrics_at: Callable[[float], str]
) -> None:
    acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})
    for number in range(4):
        acme.publish("call", "c1", f"type.{number}")
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE due SET due_at = now() - interval '1 hour'")
        of_type = "delivery_id = (SELECT id FROM deliveries WHERE event_type = %s)"
        connection.exec_driver_sql(f"UPDATE due SET due_at = now() + '1 hour' WHERE {of_type}", ("type.0",))
        connection.exec_driver_sql(f"DELETE FROM due WHERE {of_type}", ("type.1",))
    shown = metrics_at(0)
    assert metric(shown, "twofold_deliveries_pending") == 3
    assert metric(shown, "twofold_deliveries_due") == 2
    assert 3600 <= metric(shown, "twofold_oldest_due_delivery_seconds") < 3700
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM due")
    assert metrics_at(KEPT_SECONDS - 0.1) == shown
    assert metric(metrics_at(KEPT_SECONDS), "twofold_deliveries_pending") == 0


def test_the_ledgers_groups_and_schema_warnings_are_counted(app: Flask, acme: Door) -> None:
    before = of_app(app)
    acme.post("/v1/events", [event("call.started", {}), event("call.transcript", {"role": "nobody"})], 202)
    acme.post("/v1/events", event("call.started", {}), 202)
    after = of_app(app)
    for name, labels, difference in (
        ("twofold_events_accepted_total", {}, 3),
        ("twofold_group_events_count", {}, 2),
        ("twofold_group_events_sum", {}, 3),
        ("twofold_group_events_bucket", {"le": "1.0"}, 1),
        ("twofold_group_requests_sum", {}, 2),
        ("twofold_schema_warnings_total", {"kind": "call", "type": "call.transcript"}, 1),
        ("twofold_schema_warnings_total", {"kind": "call", "type": "call.started"}, 0),
    ):
        assert metric(after, name, **labels) - metric(before, name, **labels) == difference, name


def test_every_metric_is_documented() -> None:
    declared = re.compile(r'(?:Counter|Gauge|Histogram|Delays|MetricFamily|_by_label|_up|_delay)\(\s*"(twofold_\w+)"')
    names = {name for file in (ROOT / "app").rglob("*.py") for name in declared.findall(file.read_text())}
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = set(re.findall(r"^\| `(twofold_\w+?)(?:_total)?` \| (?:counter|gauge|histogram) \|", page, re.MULTILINE))
    assert rows == names


def test_announcements_that_redis_did_not_take_are_counted(environ: dict[str, str], acme: Door) -> None:
    app = create_app(Settings.from_env({**environ, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}))
    before = metric(of_app(app), "twofold_bus_lost_total")
    door = Door(app, acme.key, acme.workspace_id)
    door.publish("call", "c1", "call.started")
    eventually(lambda: metric(of_app(app), "twofold_bus_lost_total") == before + 1)
    assert "twofold_attempts_total" not in of_app(app)
    engine_of(app).close()


def event(type: str, data: dict[str, str]) -> dict[str, object]:
    return {"stream": {"kind": "call", "id": "c1"}, "type": type, "data": data}
