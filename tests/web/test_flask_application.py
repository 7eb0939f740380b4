"""What our application spares Flask comes out as Flask would have it."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder

from app.web.flask_application import MOST_HOSTS, Application


def routed(make: type[Flask]) -> Flask:
    app = make("routed", static_folder=None)
    app.url_map.merge_slashes = False
    app.add_url_rule("/v1/events", "publish", lambda: "", methods=["POST"])
    app.add_url_rule("/v1/events", "list", lambda: "", methods=["GET"])
    app.add_url_rule("/v1/events/<event_id>", "get", lambda event_id: "", methods=["GET"])
    app.add_url_rule("/v1/ws", "ws", lambda: "", methods=["GET"])
    app.add_url_rule("/v1/ws", "ws", websocket=True)
    if isinstance(app, Application):
        app.know_plain_rules()
    return app


def found(app: Flask, environ: dict[str, Any]) -> tuple[Any, ...]:
    """What a request of this environment is taken for."""
    with app.request_context(dict(environ)) as context:
        asked, adapter = context.request, context.url_adapter
        assert adapter is not None
        error = asked.routing_exception
        assert error is None or isinstance(error, HTTPException)
        where = (adapter.server_name, adapter.script_name, adapter.url_scheme, adapter.path_info, adapter.query_args)
        rule = None if asked.url_rule is None else (asked.url_rule.endpoint, asked.url_rule.websocket)
        return asked.host, where, rule, asked.view_args, type(error), getattr(error, "valid_methods", None)


CASES = [
    ("POST", "/v1/events", {}),
    ("GET", "/v1/events?type=a&type=b", {}),
    ("OPTIONS", "/v1/events", {}),
    ("HEAD", "/v1/events", {}),
    ("PUT", "/v1/events", {}),
    ("GET", "//v1/events", {}),
    ("GET", "/v1/events/", {}),
    ("GET", "/v1/events/evt_1", {}),
    ("GET", "/v1/events/\u00fc%20", {}),
    ("GET", "/nowhere", {}),
    ("GET", "/v1/ws", {}),
    ("GET", "/v1/ws", {"Connection": "Upgrade", "Upgrade": "websocket"}),
    ("POST", "/v1/events", {"Host": "B\u00fccher.example:8080"}),
    ("POST", "/v1/events", {"Host": "EXAMPLE.com:80"}),
    ("POST", "/v1/events", {"Host": "bad host"}),
]


@pytest.mark.parametrize(("method", "path", "headers"), CASES)
def test_a_request_is_taken_for_the_same(method: str, path: str, headers: dict[str, str]) -> None:
    environ = EnvironBuilder(path=path, method=method, headers=headers).get_environ()
    ours, flasks = routed(Application), found(routed(Flask), environ)
    assert [found(ours, environ) for _ in range(2)] == [flasks] * 2  # as it is met first, and again


def test_whoever_names_many_hosts_is_served_and_fills_no_memory() -> None:
    app = routed(Application)
    for number in range(MOST_HOSTS + 2):
        environ = EnvironBuilder(path="/v1/events", method="POST", headers={"Host": f"h{number}"}).get_environ()
        assert found(app, environ)[0] == f"h{number}"
    assert app.hosts_remembered <= MOST_HOSTS


def test_long_headers_are_served_and_not_kept() -> None:
    app, long = routed(Application), ", ".join(["x"] * 10_000)

    def ask(number: int) -> None:
        headers = {"Host": f"h{number}", "Connection": f"{long}{number}"}
        environ = EnvironBuilder(path=f"/v1/{long}", method="POST", headers=headers).get_environ()
        assert found(app, environ)[0] == f"h{number}"
        gc.collect()

    ask(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1, 11):
            ask(number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < len(long)
