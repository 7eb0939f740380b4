"""Probes: health, readiness and metrics."""

from __future__ import annotations

import logging
from functools import cache

from flask import Blueprint, Response
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from app.core.problem import Problem, first_line
from app.project import newest_migration
from app.redis_connection import FAILURES, connect
from app.web.engine import engine
from app.web.http.call import Answer
from app.web.http.routes import open_route
from app.web.metrics import requests as request_metrics

log = logging.getLogger(__name__)

api = Blueprint("operations", __name__)

_REDIS_SECONDS = 1.0  # a readiness probe must not wait longer for Redis, which we can do without
_PROBE = "for probes, which have no key"

# The migrations that the database is at.
APPLIED_MIGRATIONS = "SELECT version_num FROM alembic_version"


@open_route(api, "GET", "/healthz", why=_PROBE, answers={200: "Health"}, summary="Whether this process answers")
def healthz() -> Answer:
    return Answer({"status": "ok"})


@open_route(
    api,
    "GET",
    "/readyz",
    why=_PROBE,
    answers={200: "Ready"},
    refusals=("unavailable",),
    summary="Whether requests can be served. Redis is not needed: without it, streams and webhooks are slower",
)
def readyz() -> Answer:
    database, migrations = _database_state()
    redis = "up" if _redis_answers() else "down"
    state = {"database": database, "migrations": migrations, "redis": redis}
    if database != "up":
        raise Problem("unavailable", "PostgreSQL cannot be reached at DATABASE_URL.", extra=state)
    if migrations != "current":
        raise Problem(
            "unavailable",
            "The tables are not this version's; run: twofold migrate (alembic upgrade head)",
            extra=state,
        )
    return Answer({"status": "ready" if redis == "up" else "degraded"} | state)


@open_route(api, "GET", "/metrics", why=_PROBE, answers={200: "text"}, summary="Metrics for Prometheus")
def metrics() -> Response:
    return request_metrics.text(request_metrics.exposition() + engine().delivery_metrics.exposition())


_needed_migration = cache(newest_migration)


def _database_state() -> tuple[str, str]:
    try:
        with engine().database.begin() as connection:
            applied = connection.exec_driver_sql(APPLIED_MIGRATIONS).scalars().all()
    except ProgrammingError:  # the table is not there
        return "up", "missing"
    except SQLAlchemyError as error:
        log.warning("not ready: %s", first_line(error))
        return "down", "unknown"
    return "up", "current" if list(applied) == [_needed_migration()] else "other"


def _redis_answers() -> bool:
    client = connect(engine().settings.redis_url, seconds=_REDIS_SECONDS)
    try:
        return bool(client.ping())
    except FAILURES:
        return False
    finally:
        client.close()
