"""The routes that contract files declare: their names, the URLs that they mint, and how they are described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.settings import Settings
from app.web.application import make as create_app
from app.web.engine import engine_of
from tests.web.doors import Door

CONTRACT = """
name = "{name}"
about = "Orders"

[[streams]]
kind = "{name}"

[[routes]]
name = "{route}"
does = "sse"
path = "/{name}/live"
kind = "{name}"
id = "query:order"
credentials = ["key:bearer", "token:query"]
frame = {{ data = "payload" }}

[[routes]]
name = "token"
does = "mint"
path = "/{name}/token"
kind = "{name}"
id = "query:order"
credentials = ["key:bearer"]
mints = "{route}"
mint_fields = ["url"]
"""


@pytest.fixture
def environ(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """With two contracts whose names, put together with their routes', are the same."""
    for name, route in (("shop", "order_live"), ("shop_order", "live")):
        (tmp_path / f"{name}.toml").write_text(CONTRACT.format(name=name, route=route))
    return environ | {"CONTRACTS_DIR": str(tmp_path)}


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """One of its own, because its contracts are."""
    made = create_app(settings)
    yield made
    engine_of(made).close()


def test_names_that_look_alike_together_are_two_routes(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    described = [document["paths"][path]["get"] for path in ("/shop/live", "/shop_order/live")]
    assert [one["operationId"] for one in described] == ["shop-order_live", "shop_order-live"]


@pytest.mark.parametrize("id", ["a+b", "a@b:c=d~", "plain"])
def test_a_minted_url_names_the_stream_that_it_was_minted_for(acme: Door, id: str) -> None:
    quoted = id.replace("+", "%2B").replace("@", "%40").replace(":", "%3A").replace("=", "%3D")
    acme.put(f"/v1/streams/shop/{quoted}", {})
    canonical = acme.post(f"/v1/streams/shop/{quoted}/tokens")["url"]
    assert canonical.endswith(f"/v1/streams/shop/{quoted}/live")
    minted = acme.post(f"/shop/token?order={quoted}", status=200)["url"]
    assert minted.endswith(f"/shop/live?order={quoted}")


def test_every_code_of_a_problem_is_in_the_description(app: Flask, acme: Door) -> None:
    codes = app.test_client().get("/openapi.json").get_json()["components"]["schemas"]["Problem"]["properties"]["code"]
    refused = acme.get("/v1/streams/call/not%20an%20id/live", status=422)
    assert refused["code"] == "invalid_id"
    assert {"invalid_id", "missing_id", "ended", "cursor_ahead", "schema_mismatch"} <= set(codes["enum"])
