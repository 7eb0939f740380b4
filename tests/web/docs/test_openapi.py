"""What /openapi.json says of the routes that contracts declare, and that it holds together as OpenAPI 3.1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator

from app import create_app
from app.core.contract.model import Contract, ContractRoute
from app.settings import Settings
from app.web.docs import openapi
from app.web.engine import engine_of
from tests.processes import ROOT
from tests.web.doors import HANDSHAKE, Door

HTTP_METHODS = {"get", "put", "post", "delete", "patch", "QUERY"}  # what OpenAPI 3.1 does not know is an extension
WITHOUT_BODY = {"/api/v1/bots/{bot_id}/subscribe"}  # its contract reads none


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, method, operation in openapi.operations(document):
        yield path, method.lower() if method in openapi.KNOWN_METHODS else method, operation


def contract_routes(app: Flask) -> Iterator[tuple[Contract, ContractRoute]]:
    for declared in engine_of(app).rules.contracts:
        for route in declared.routes:
            yield declared, route


def parameters(operation: dict[str, Any], where: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in operation["parameters"] if one["in"] == where}


def test_it_holds_together(document: dict[str, Any]) -> None:
    """The rules of OpenAPI 3.1 that a document made by code can break (sections 4.8.8 to 4.8.17 and 4.8.27)."""
    assert document["openapi"] == "3.1.0"
    parts = {part["name"] for part in document["tags"]}
    for path, method, operation in operations(document):
        assert method in HTTP_METHODS
        assert set(operation["tags"]) <= parts, path
        names = [(one["name"], one["in"]) for one in operation["parameters"]]
        assert len(names) == len(set(names)), path
        in_path = parameters(operation, "path")
        assert set(in_path) == set(re.findall(r"{(\w+)}", path))
        assert all(one["required"] for one in in_path.values())
        for schema in (one["schema"] for one in operation["parameters"]):
            Draft202012Validator.check_schema(schema)
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|default", status)
            assert answer["description"]
            for content in answer.get("content", {}).values():
                Draft202012Validator.check_schema(content["schema"])
        for alternative in operation.get("security", document["security"]):
            assert set(alternative) <= set(document["components"]["securitySchemes"]), path


def test_the_query_options_of_live_streams_are_listed(document: dict[str, Any]) -> None:
    paths = document["paths"]
    live = parameters(paths["/v1/streams/{kind}/{stream_id}/live"]["get"], "query")
    assert set(live) == {"token", "types", "after_seq", "speed"}
    assert (live["after_seq"]["schema"]["type"], live["speed"]["schema"]["type"]) == ("integer", "number")
    assert set(parameters(paths["/v1/streams/{kind}/{stream_id}/ws"]["get"], "query")) == {
        "token",
        "types",
        "after_seq",
    }
    (call_id,) = parameters(paths["/atoms/v1/events"]["get"], "query").values()
    assert (call_id["name"], call_id["required"]) == ("callId", True)
    assert set(parameters(paths["/v1/calls/{call_id}/transcript"]["get"], "query")) == {"token"}
    assert not parameters(paths["/v1/conversations/{conversation_id}/stream"]["get"], "query")
    assert {"query": []} not in paths["/v1/conversations/{conversation_id}/stream"]["get"]["security"]
    assert paths["/atoms/v1/events"]["get"]["security"] == [{"bearer": []}, {"session": []}]


def test_live_streams_are_event_streams_with_their_contracts_frames(
    document: dict[str, Any], documented: Flask
) -> None:
    for _, route in contract_routes(documented):
        responses = document["paths"][route.path][route.method.lower()]["responses"]
        if route.does == "sse":
            assert list(responses["200"]["content"]) == ["text/event-stream"]
        assert ("204" in responses) == (route.does == "sse" and route.replay != "none" and route.ended != "refuse")
        assert ("101" in responses) == ("426" in responses) == (route.does == "websocket")
    shown = document["paths"]["/sse/{bot_id}"]["get"]["responses"]["200"]["content"]["text/event-stream"]["example"]
    assert shown.startswith('event: transcript_segment\nid: 1\ndata: {"speaker":"Alice",')
    minted = document["paths"]["/api/v1/bots/{bot_id}/subscribe"]["post"]["responses"]["200"]["content"]
    assert minted["application/json"]["schema"]["required"] == ["url", "token"]


def test_what_contract_routes_refuse_is_listed_with_its_status_and_form(document: dict[str, Any], acme: Door) -> None:
    seen = set()
    for declared, route in contract_routes(acme.app):
        path = re.sub(r"{\w+}", lambda found: "call" if found[0] == "{kind}" else "mbsess_no", route.path)
        path += "?callId=no" if route.id_in == "query" else ""
        handshake = HANDSHAKE if route.does == "websocket" else {}
        keys = {"Authorization": f"Bearer {acme.key}", "X-API-Key": acme.key}
        for headers in ({}, keys):
            answer = acme.app.test_client().open(path, method=route.method, headers={**headers, **handshake})
            described = document["paths"][route.path][route.method.lower()]["responses"][str(answer.status_code)]
            (content_type,) = described["content"]
            assert answer.content_type == content_type
            schema = described["content"][content_type]["schema"] | {"components": document["components"]}
            Draft202012Validator(schema).validate(answer.get_json())
            body = answer.get_json()
            assert f"{body.get('code') or body['error']['code']}: " in described["description"]
            seen.add((declared.name, answer.status_code))
    assert {("aitronos", 401), ("aitronos", 404), ("atoms", 404), ("serveka", 401), ("voicebip", 404)} <= seen


def test_every_body_has_a_schema_with_a_name(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    named = set()
    for path, method, operation in operations(document):
        for content_type, content in operation.get("requestBody", {"content": {}})["content"].items():
            if content_type == "application/json":
                named.add(content["schema"]["$ref"].rpartition("/")[2])
        assert method == "get" or path in WITHOUT_BODY or "requestBody" in operation or method == "delete", path
    assert {"CreateEndpoint", "ChangeEndpoint", "CreateKey", "OpenStream", "RecoverEndpoint", "EventsIn"} < named
    for name in named - {"EventsIn"}:
        assert schemas[name]["additionalProperties"] is False, name


def test_whatever_a_caller_names_has_a_form_and_a_bound(document: dict[str, Any]) -> None:
    """A text has a pattern or is one of a few, and is bounded in length; a number is bounded on both sides."""
    schemas = document["components"]["schemas"]
    bodies = [
        schemas[content["schema"]["$ref"].rpartition("/")[2]]
        for _, _, operation in operations(document)
        for content in operation.get("requestBody", {"content": {}})["content"].values()
        if "$ref" in content["schema"]
    ]
    given = [one["schema"] for _, _, operation in operations(document) for one in operation["parameters"]]
    given += [member for body in [*bodies, schemas["EventIn"]] for member in body.get("properties", {}).values()]
    assert len(given) > 80
    for shape in given:
        assert "items" not in shape or "maxItems" in shape, shape
        parts = shape.get("allOf", [shape.get("items", shape)])
        types = [part["type"] for part in parts if "type" in part]
        if any("string" in one for one in types):
            assert any(bounded(part) for part in parts), shape
        elif any("integer" in one or "number" in one for one in types):
            assert all({"minimum", "maximum"} <= part.keys() for part in parts), shape


def bounded(text: dict[str, Any]) -> bool:
    """Whether a text is one of a few, or has a form and a length."""
    if "enum" in text:
        return True
    unclassed = re.sub(r"\[[^\]]*\]", "x", text.get("pattern", ".*"))
    return "pattern" in text and ("maxLength" in text or not re.search(r"[^\\][*+]|\{\d+,\}", unclassed))


def test_a_route_s_refusals_are_listed_by_status(document: dict[str, Any]) -> None:
    create = document["paths"]["/v1/endpoints"]["post"]["responses"]
    assert set(create) == {"201", *map(str, (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)), "default"}
    assert "idempotency_conflict: " in create["409"]["description"]
    assert "415" in document["paths"]["/v1/events"]["post"]["responses"]
    assert "application/x-ndjson" in document["paths"]["/v1/events"]["post"]["responses"]["202"]["content"]
    assert "cursor_ahead: " in document["paths"]["/v1/events"]["get"]["responses"]["409"]["description"]
    assert "missing_id" in document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]


def test_a_contract_s_own_codes_are_codes(environ: dict[str, str], tmp_path: Path) -> None:
    own = '[errors]\nnot_found = { status = 404, code = "no_such_call", message = "No such call." }\n'
    text = (ROOT / "app/contracts/voicebip.toml").read_text()
    text = text.replace('name = "voicebip"', 'name = "mine"').replace('path = "/v1/', 'path = "/mine/')
    assert "[errors]" not in text
    (tmp_path / "mine.toml").write_text(text + own)
    app = create_app(Settings.from_env({**environ, "CONTRACTS_DIR": str(tmp_path)}))
    document = app.test_client().get("/openapi.json").get_json()
    assert "no_such_call" in document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    engine_of(app).close()
