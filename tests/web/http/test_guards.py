"""Every route is declared: it has a guard, or a reason for having none; and it is documented."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flask import Flask
from jsonschema import Draft202012Validator

from app.web.docs import openapi
from app.web.engine import engine_of
from app.web.http.call import ApiRoute
from app.web.http.routes import routes_of
from app.web.pages.console.visit import ANYONE, pages_of
from app.web.pages.portal.visit import portal_pages_of
from tests.web.doors import EVERY_SCOPE, Door, handshake

PLAIN = {"kind": "call", "stream_id": "c1", "workspace": "acme"}


def guarded(app: Flask) -> Iterator[tuple[ApiRoute, str]]:
    """Each route that needs a key, with a path that fits it."""
    for declared in routes_of(app).values():
        if not declared.public:
            yield declared, re.sub(r"\{(\w+)\}", lambda found: PLAIN.get(found[1], "x"), declared.path)


def test_every_rule_of_the_url_map_is_a_declared_route(app: Flask) -> None:
    kinds = (routes_of(app), pages_of(app), portal_pages_of(app))
    declared = {name: rule for rules in kinds for name, rule in rules.items()}
    assert len(declared) == sum(len(rules) for rules in kinds)
    for rule in app.url_map.iter_rules():
        assert rule.endpoint in declared, f"{rule.rule} was not made by route(), open_route() or page()"
        assert declared[rule.endpoint].method in (rule.methods or ())


def test_a_route_without_a_key_says_why(app: Flask) -> None:
    public = {declared.path for declared in routes_of(app).values() if declared.public}
    pages = {"/docs", "/docs.md", "/docs/{page}", "/live/{kind}/{stream_id}", "/static/{name}"}
    for_programs = {
        "/openapi.json",
        "/asyncapi.json",
        "/llms.txt",
        "/llms-full.txt",
        "/.well-known/twofold/vectors.json",
    }
    assert public == {"/healthz", "/readyz", "/metrics", "/v1/session"} | for_programs | pages
    for declared in routes_of(app).values():
        assert bool(declared.public) != bool(declared.scope)


def test_a_page_that_anyone_may_see_says_why(app: Flask) -> None:
    open_pages = {rule.path for rule in pages_of(app).values() if rule.role == ANYONE}
    assert open_pages == {"/", "/live", "/console/sign-in"}
    for rule in pages_of(app).values():
        assert bool(rule.why) == (rule.role == ANYONE)


def test_every_guarded_route_answers_401_without_a_key(app: Flask) -> None:
    for declared, path in guarded(app):
        response = app.test_client().open(path, method=declared.method, headers=handshake(app, declared))
        assert response.status_code == 401, (declared.method, path)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_guarded_route_answers_403_without_its_scope_and_names_it(acme: Door) -> None:
    doors = {}
    for scope in EVERY_SCOPE:
        others = [other for other in EVERY_SCOPE if other != scope]
        doors[scope] = Door(acme.app, acme.post("/v1/keys", {"name": "but one", "scopes": others})["key"])
    only_tokens = {
        route.path
        for declared in engine_of(acme.app).rules.contracts
        for route in declared.routes
        if not any(way.startswith("key:") for way in route.credentials)
    }
    seen = 0
    for declared, path in guarded(acme.app):
        if declared.path in only_tokens:
            continue
        door = doors[declared.scope]
        response = door.ask(declared.method, path, headers={"X-API-Key": door.key, **handshake(acme.app, declared)})
        assert response.status_code == 403, (declared.method, path)
        assert declared.scope in response.get_data(as_text=True)
        seen += 1
    assert seen > 20


def test_the_openapi_document_lists_every_route_and_holds_together(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    served = {(declared.path, declared.method) for declared in routes_of(app).values()}
    listed = {(path, method) for path, method, _ in openapi.operations(document)}
    assert listed == served
    operations = [operation for _, _, operation in openapi.operations(document)]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for operation in operations:
        assert operation["summary"]
        assert operation["responses"]["default"]
    for reference in re.findall(r'"\$ref": ?"#/components/schemas/(\w+)"', str(document).replace("'", '"')):
        assert reference in document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_pages_show_every_route(app: Flask) -> None:
    client = app.test_client()
    names = sorted(set(re.findall(r'href="/docs/(api-[\w-]+)"', client.get("/docs").text)))
    shown = "".join(client.get(f"/docs/{name}").text for name in names)
    written = "".join(client.get(f"/docs/{name}.md").text for name in names)
    for declared in routes_of(app).values():
        assert f"{declared.method} {declared.path}</h2>" in shown
        assert declared.summary in written
