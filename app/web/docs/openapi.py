"""The OpenAPI 3.1 document, made from the declared routes: what is served is what is documented."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.core.problem import CODES
from app.web.docs.schemas import SCHEMAS
from app.web.http.call import OPTIONAL_WORKSPACE, PLATFORM, ApiRoute
from app.web.http.cookie import COOKIE
from app.web.http.fields import Field, schema
from app.web.http.reading import JSON
from app.web.http.routes import IDS

VERSION = "1"
# Names of answers that are not JSON: (content type, what it is).
OTHER_ANSWERS = {
    "text": ("text/plain", "Text"),
    "html": ("text/html", "A page"),
    "file": ("*/*", "A script, a style sheet or an icon"),
    "log": ("text/event-stream", "Endless server-sent events: `event: attempt`, `data:` a LoggedAttempt"),
}
# The document's tags in the order in which readers need them, and the blueprints whose routes have each.
TAGS = {
    "events": ("publish", "events"),
    "streams": ("streams",),
    "live streams": ("contracts",),
    "endpoints": ("endpoints",),
    "deliveries": ("deliveries", "log_view"),
    "workspaces": ("workspaces",),
    "keys": ("keys", "sessions"),
    "operations": ("operations", "docs"),
    "pages": ("viewer", "files"),
}
_TAG_OF = {blueprint: tag for tag, blueprints in TAGS.items() for blueprint in blueprints}
# Bodies that may also come in another form than JSON.
OTHER_BODIES = {"EventsIn": {"application/x-ndjson": {"schema": {"type": "string"}}}}
_DESCRIPTION = """\
One event, two deliveries: live to whoever is watching, and reliably to everyone who registered.

Send a key as `Authorization: Bearer <key>` or `X-API-Key: <key>`. A platform key (`sk_…`) names the workspace it acts
for in `X-Workspace`, by id or uid. Errors are `application/problem+json` (RFC 9457) with a `code` to match on, a
`detail` that says what to do, and a `trace_id`. A POST with an `Idempotency-Key` may be repeated safely."""


def document(routes: Mapping[str, ApiRoute], server_url: str) -> dict[str, Any]:
    """The whole document. routes: by the name of their Flask endpoint. server_url: where clients reach this API."""
    paths: dict[str, dict[str, Any]] = {}
    for name, declared in sorted(routes.items(), key=lambda pair: (pair[1].path, pair[1].method)):
        paths.setdefault(declared.path, {})[declared.method.lower()] = _operation(name, declared)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Twofold", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": server_url}],
        "security": [{"bearer": []}, {"header": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys([*TAGS, *map(_tag, sorted(routes))])],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def body_schema(fields: tuple[Field, ...]) -> dict[str, Any]:
    """A request body as JSON Schema."""
    made: dict[str, Any] = {
        "type": "object",
        "properties": {item.name: schema(item) for item in fields},
        "additionalProperties": False,
    }
    required = [item.name for item in fields if item.required]
    return made | ({"required": required} if required else {})


def _operation(name: str, declared: ApiRoute) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": name.rpartition(".")[2],
        "summary": declared.summary,
        "tags": [_tag(name)],
    }
    return made | dict(declared.operation or _described(declared))


def _tag(name: str) -> str:
    blueprint = name.partition(".")[0]
    return _TAG_OF.get(blueprint, blueprint)


def _described(declared: ApiRoute) -> dict[str, Any]:
    made: dict[str, Any] = {
        "parameters": _parameters(declared),
        "responses": {str(status): _response(answer) for status, answer in declared.answers.items()},
    }
    made["responses"]["default"] = {
        "description": "A problem. Codes: " + ", ".join(CODES),
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }
    if declared.public:
        made["security"] = []
    else:
        made["description"] = f"Needs the scope `{declared.scope}`."
    content = _body(declared)
    if content:
        required = declared.body is None or any(item.required for item in declared.body)
        made["requestBody"] = {"required": required, "content": content}
    return made


def _body(declared: ApiRoute) -> dict[str, Any]:
    if declared.body:
        return {JSON: {"schema": body_schema(declared.body)}}
    if declared.body_schema:
        return {JSON: {"schema": _ref(declared.body_schema)}, **OTHER_BODIES.get(declared.body_schema, {})}
    return {}


def _parameters(declared: ApiRoute) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": _about(name)}
        for name in re.findall(r"\{(\w+)\}", declared.path)
    ]
    for item in declared.query:
        made.append(
            {
                "name": item.name,
                "in": "query",
                "required": item.required,
                "schema": schema(item),
                "description": item.about,
            }
        )
    if not declared.public and declared.acts_for != PLATFORM:
        needed = "a platform key may name" if declared.acts_for == OPTIONAL_WORKSPACE else "a platform key must name"
        made.append(_header("X-Workspace", f"the workspace that {needed}, by id or uid"))
    if declared.method == "POST":
        made.append(_header("Idempotency-Key", "repeats with the same key have one effect and get the same answer"))
    return made


_ABOUT_PATH = {
    "workspace": "id or uid",
    "kind": "the kind of the stream",
    "stream_id": "your id of the stream",
    "name": "the name of the file",
}


def _about(name: str) -> str:
    """What a path parameter is, by its name."""
    if name in IDS:
        prefix, what = IDS[name]
        return f"the id of the {what}, {prefix}_…"
    return _ABOUT_PATH.get(name, name)


def _header(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": about}


def _response(answer: str) -> dict[str, Any]:
    if not answer:
        return {"description": "Done"}
    if answer in OTHER_ANSWERS:
        content_type, about = OTHER_ANSWERS[answer]
        return {"description": about, "content": {content_type: {"schema": {"type": "string"}}}}
    about = SCHEMAS[answer].get("description", "An answer")
    return {"description": about, "content": {JSON: {"schema": _ref(answer)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
