"""/docs: every page in its forms, every link, every error code, every example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator

from app.core.contract.model import ERROR_STATUS
from app.core.problem import CODES
from app.web.docs import library, openapi, rendering
from app.web.docs.webhooks import ANY_NAME
from app.web.engine import engine_of

WITHOUT_EXAMPLE = {"Any"}  # documents, which are their own example


def test_every_page_is_served_as_html_and_as_markdown(documented: Flask, pages: dict[str, library.Page]) -> None:
    client = documented.test_client()
    for page in pages.values():
        shown, plain = client.get(page.path), client.get(f"{page.path}.md")
        assert (shown.status_code, plain.status_code) == (200, 200), page.path
        assert plain.text == page.text
        assert plain.content_type == "text/markdown; charset=utf-8"
        assert f"<h1 id={rendering.anchor(page.title)!r}".replace("'", '"') in shown.text
        assert re.findall(r"<script|<style|\sstyle=|\son\w+=|{{", shown.text) == []
        assert "script-src" not in shown.headers["Content-Security-Policy"]
        assert set(re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', shown.text)) <= {
            "/static/docs.css",
            "/static/icon.svg",
            f"{page.path}.md",
        }, "a page works offline"


@pytest.mark.parametrize("path", ["/docs", "/docs/feed", "/console", "/portal"])
def test_a_slash_at_the_end_leads_to_the_page(documented: Flask, path: str) -> None:
    client = documented.test_client()
    moved = client.get(f"{path}/")
    assert (moved.status_code, moved.headers["Location"]) == (308, path)
    assert client.get(f"{path}/?a=1&b=%2F%0A").headers["Location"] == f"{path}?a=1&b=%2F%0A"
    assert client.post(f"{path}/").status_code == 404
    assert client.get("/", environ_overrides={"PATH_INFO": f"/{path}/"}).status_code == 404
    assert client.get("/v1/events/").status_code == 404


def test_every_link_leads_to_a_page_and_a_heading(documented: Flask, pages: dict[str, library.Page]) -> None:
    client = documented.test_client()
    shown = {page.path: client.get(page.path).text for page in pages.values()}
    links = {(path, link) for path, text in shown.items() for link in re.findall(r'href="([/#][^"]*)"', text)}
    broken = []
    for path, link in links:
        target, _, place = link.partition("#")
        text = shown.get(target or path) or client.get(target).text
        if client.get(target or path).status_code != 200 or (place and f'id="{place}"' not in text):
            broken.append((path, link))
    assert broken == []


def test_every_code_has_its_mend_and_no_other(pages: dict[str, library.Page]) -> None:
    headed = re.findall(r"^## ([a-z_]+)\n\n(\d{3})\. (.+)", pages["errors"].text, re.MULTILINE)
    status = {code: of[0] for code, of in CODES.items()}
    assert {code: int(number) for code, number, _ in headed} == ERROR_STATUS | status
    assert [code for code, _, mend in headed if len(mend) < 40] == []


def test_programs_find_every_page(documented: Flask, pages: dict[str, library.Page]) -> None:
    client = documented.test_client()
    listed, together = client.get("/llms.txt").text, client.get("/llms-full.txt").text
    for page in pages.values():
        assert f"{page.path}.md): {page.about}" in listed
        assert page.text in together
    assert listed.startswith("# Twofold\n\n> ")


def test_every_route_is_in_the_reference(document: dict[str, Any], pages: dict[str, library.Page]) -> None:
    written = "\n".join(page.text for page in pages.values() if page.group == library.REFERENCE)
    for path, method, _ in openapi.operations(document):
        assert f"\n## {method} {path}\n" in written


def contents(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where, in which form and what of everything that is sent or answered."""
    webhooks = openapi.operations({"paths": document["webhooks"]})
    for path, method, operation in (*openapi.operations(document), *webhooks):
        sent = operation.get("requestBody", {"content": {}})
        for answer in (sent, *operation["responses"].values()):
            for kind, content in answer.get("content", {}).items():
                yield f"{method} {path}", kind, content


def test_everything_that_is_json_has_an_example_that_fits(document: dict[str, Any]) -> None:
    checked = 0
    for where, kind, content in contents(document):
        reference = content["schema"].get("$ref", "").rpartition("/")[2]
        if not kind.endswith("json") or reference in WITHOUT_EXAMPLE or "Problem" in str(content["schema"]):
            continue
        if where.split(" ")[1] in contract_paths(document) or reference == "Nothing":
            continue
        assert "example" in content, (where, kind)
        whole = {**content["schema"], "components": document["components"]}
        errors = list(Draft202012Validator(whole).iter_errors(content["example"]))
        assert errors == [], (where, errors[0].message)
        checked += 1
    assert checked > 60


def contract_paths(document: dict[str, Any]) -> set[str]:
    """Paths that contracts declare: their examples are frames (x-frames)."""
    return {path for path, methods in document["paths"].items() if any("x-frames" in one for one in methods.values())}


def test_each_event_type_is_a_webhook(documented: Flask, document: dict[str, Any]) -> None:
    rules = engine_of(documented).rules
    assert len(document["webhooks"]) == len(rules.types) + 1
    assert document["webhooks"][ANY_NAME]["post"]["parameters"][0]["name"] == "webhook-id"


def test_the_description_of_streams_holds_together(documented: Flask, streams: dict[str, Any]) -> None:
    """The rules of AsyncAPI 3.0 that a document made by code can break."""
    assert streams["asyncapi"] == "3.0.0"
    routes = {
        route.path
        for contract in engine_of(documented).rules.contracts
        for route in contract.routes
        if route.does != "mint"
    }
    assert {channel["address"] for channel in streams["channels"].values()} == routes | {"/v1/feed/live", "/v1/feed/ws"}
    for name, channel in streams["channels"].items():
        assert re.fullmatch(r"[A-Za-z0-9_]+", name)
        assert set(channel.get("parameters", {})) == set(re.findall(r"{(\w+)}", channel["address"]))
    for operation in streams["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = found(streams, operation["channel"])
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")
            assert found(streams, message) in channel["messages"].values()
    for message in streams["components"]["messages"].values():
        whole = {**message["payload"], "components": streams["components"]}
        Draft202012Validator.check_schema(whole)
        for example in message.get("examples", ()):
            assert list(Draft202012Validator(whole).iter_errors(example["payload"])) == []
    assert all(found(streams, {"$ref": reference}) for reference in re.findall(r"'\$ref': '(#[^']+)'", str(streams)))


def found(document: dict[str, Any], reference: dict[str, str]) -> Any:
    value: Any = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        value = value[part]
    return value
