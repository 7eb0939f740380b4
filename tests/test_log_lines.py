"""With LOG_FORMAT=json each line of each process is one object, and an answered error is found by its trace id."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
import requests

from app.log_lines import JsonLines, formatter, members
from app.settings import Settings, SettingsError
from tests.conftest import StartServer
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.processes import RunningProcess, eventually

SECRET = "sk_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"


def lines(process: RunningProcess | None) -> list[dict[str, Any]]:
    assert process is not None
    return [json.loads(line) for line in process.log_text().splitlines() if line]


def record(message: str, **values: Any) -> logging.LogRecord:
    try:
        raise ValueError(f"/x?token={SECRET}")
    except ValueError:
        trouble = sys.exc_info()
    made = logging.LogRecord("app.x", logging.ERROR, "x.py", 1, message, (), trouble)
    made.__dict__.update(members(**values))
    return made


def test_a_json_line_holds_no_secret_wherever_it_came_from() -> None:
    line = JsonLines().format(record(f"key {SECRET}", path=f"/{SECRET}", status=500))
    assert SECRET not in line
    assert json.loads(line)["status"] == 500
    assert json.loads(line)["exception"].startswith("Traceback")


def test_the_form_is_text_unless_json_is_asked_for() -> None:
    text = logging.Formatter("%(message)s")
    assert formatter({}, text) is text
    assert isinstance(formatter({"LOG_FORMAT": "json"}, text), JsonLines)


def test_another_form_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="LOG_FORMAT is 'xml'; give text or json"):
        Settings.from_env(environ | {"LOG_FORMAT": "xml"})


def test_every_line_of_web_and_worker_is_an_object_and_errors_are_found(start_server: StartServer) -> None:
    server = start_server(worker=True, LOG_FORMAT="json", PYTHONWARNINGS="ignore")
    with ScriptedServer(answering(OK)) as receiver:
        endpoint = {"url": receiver.url}
        requests.post(f"{server.base_url}/v1/endpoints", json=endpoint, headers=server.headers, timeout=10)
        event = {"stream": {"kind": "call", "id": "logged"}, "type": "x.y", "data": {}}
        requests.post(f"{server.base_url}/v1/events", json=event, headers=server.headers, timeout=10)
        eventually(lambda: receiver.seen)
    refused = requests.get(f"{server.base_url}/v1/events/none?token={SECRET}", headers=server.headers, timeout=10)
    known = refused.json()["trace_id"]
    metrics = eventually(lambda: timed(requests.get(f"{server.base_url}/metrics", timeout=10).text))
    assert metrics["twofold_first_attempt_delay_seconds_count"] == metrics["twofold_delivery_delay_seconds_count"] == 1
    server.stop()
    (found,) = [line for line in lines(server.web) if line.get("trace_id") == known]
    expected = {"method": "GET", "path": "/v1/events/none", "status": 404, "code": "not_found", "level": "info"}
    assert {name: found[name] for name in expected} == expected
    assert found["time"].endswith("Z")
    assert {line["logger"] for line in lines(server.worker)} >= {"celery.apps.worker"}


def timed(shown: str) -> dict[str, float]:
    """The counts of both delays of deliveries, once there are any."""
    samples = (line.split() for line in shown.splitlines() if "_delay_seconds_count" in line)
    found = {name: float(value) for name, value in samples if not name.startswith("twofold_frame")}
    return found if all(found.values()) else {}
