"""Health, readiness, metrics; and what a caller sees when an engine is away or something breaks."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from flask import Blueprint, Flask
from sqlalchemy import text

from app import create_app
from app.database.connection import Database
from app.settings import Settings
from app.web.engine import engine_of
from app.web.http.call import Answer
from app.web.http.routes import open_route
from tests.processes import free_port
from tests.web.doors import Door

SECRET_WORDS = "the password is swordfish"


@pytest.fixture
def without_redis(environ: dict[str, str]) -> Iterator[Flask]:
    app = create_app(Settings.from_env({**environ, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}))
    yield app
    engine_of(app).close()


@pytest.fixture
def without_postgres(environ: dict[str, str]) -> Flask:
    return create_app(Settings.from_env({**environ, "DATABASE_URL": f"postgresql://a:b@127.0.0.1:{free_port()}/c"}))


def test_ready_when_both_engines_answer_and_the_tables_are_this_versions(app: Flask) -> None:
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json() == {"status": "ready", "database": "up", "migrations": "current", "redis": "up"}


def test_without_redis_ready_but_degraded_and_events_are_accepted(
    without_redis: Flask, platform: Door, acme: Door
) -> None:
    answer = without_redis.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")
    door = Door(without_redis, acme.key, acme.workspace_id)
    door.publish("call", "c1", "call.started")
    assert len(door.get("/v1/events")["data"]) == 1


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '0000'", "DROP TABLE alembic_version"])
def test_not_ready_when_the_tables_are_another_versions(app: Flask, database: Database, statement: str) -> None:
    with database.begin() as connection:
        connection.execute(text(statement))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert "alembic upgrade head" in answer.get_json()["detail"]


def test_without_postgres_alive_but_not_ready_and_every_call_is_a_503(
    without_postgres: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    client = without_postgres.test_client()
    assert client.get("/healthz").get_json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["database"]) == (503, "down")
    answer = client.get("/v1/streams?token=hidden", headers={"Authorization": "Bearer pk_x"})
    assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert client.get("/metrics").status_code == 200
    assert not any(record.exc_info for record in caplog.records)
    assert "hidden" not in caplog.text


def test_a_surprise_is_logged_once_under_its_trace_id_and_leaks_nothing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Blueprint("broken", __name__)

    @open_route(broken, "GET", "/broken", why="to break", answers={200: "Any"}, summary="Breaks")
    def breaks() -> Answer:
        raise RuntimeError(SECRET_WORDS)

    app = create_app(settings)
    app.register_blueprint(broken)
    with caplog.at_level(logging.DEBUG):
        answer = app.test_client().get("/broken?token=hidden", headers={"X-Request-Id": "find-me"})
    assert answer.status_code == 500
    assert answer.get_json()["code"] == "internal"
    assert SECRET_WORDS not in answer.get_data(as_text=True)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "find-me" in record.getMessage()
    assert "hidden" not in caplog.text


def test_metrics_count_requests_by_route_and_tell_how_late_deliveries_are(acme: Door, database: Database) -> None:
    acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})
    acme.publish("call", "c1", "call.started")
    with database.begin() as connection:
        connection.execute(text("UPDATE due SET due_at = now() - interval '1 hour'"))
    acme.get("/v1/streams/call/c1")
    metrics = acme.client.get("/metrics").get_data(as_text=True)
    assert 'twofold_http_requests_total{method="GET",route="/v1/streams/<kind>/<stream_id>",status="200"}' in metrics
    late = next(line for line in metrics.splitlines() if line.startswith("twofold_oldest_due_delivery_seconds "))
    assert 3600 <= float(late.split()[1]) < 3700
    assert "c1" not in metrics
