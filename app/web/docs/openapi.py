"""The OpenAPI 3.1 document, made from the declared routes: what is served is what is documented."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.core.contract.model import EventType
from app.core.feed import consumer
from app.web.docs import examples, refusals, webhooks
from app.web.docs.schemas import SCHEMAS
from app.web.http import shapes
from app.web.http.call import OPTIONAL_WORKSPACE, PLATFORM, ApiRoute
from app.web.http.cookie import COOKIE
from app.web.http.reading import JSON
from app.web.http.routes import HAVE_UIDS, IDS

VERSION = "1"
# Names of answers that are not JSON: (content type, what it is).
OTHER_ANSWERS = {
    "text": ("text/plain", "Text"),
    "html": ("text/html", "A page"),
    "page": ("text/html", "A page, or its Markdown"),
    "markdown": ("text/markdown", "A page as Markdown"),
    "file": ("*/*", "A script, a style sheet or an icon"),
    "feed": ("text/event-stream", "Endless server-sent events: `event:` type, `id:` cursor, `data:` an Event"),
    "switched": ("", "A WebSocket: each text is an object with `cursor`, and with `event` (an Event) or `reset`"),
    "log": ("text/event-stream", "Endless server-sent events: `event: attempt`, `data:` a LoggedAttempt"),
}
# The document's tags in the order in which readers need them: what each is about, and the blueprints of its routes.
TAGS = {
    "events": ("Publish events and read them back.", ("publish", "events")),
    "event types": ("What a workspace says of its types: schemas, examples, words.", ("event_types",)),
    "feed": (
        "All events of a workspace in one order, with a cursor.",
        ("feed", "feed_view", "feed_tokens", "consumers"),
    ),
    "streams": ("Open, list, read and end streams, and mint tokens for them.", ("streams", "tokens")),
    "live streams": ("Streams as they happen, each kind in its own paths and frames.", ("contracts",)),
    "endpoints": ("Webhooks: where to, of what, with which secret.", ("endpoints", "lanes")),
    "deliveries": ("What was sent, what was answered, and what comes next.", ("deliveries", "log_view")),
    "bulk retries": ("Many deliveries tried again in the background, behind new events.", ("bulk_retries",)),
    "portal links": ("Links that let a customer look after their own webhooks.", ("portal_links",)),
    "workspaces": ("A workspace is one customer; nothing crosses it.", ("workspaces",)),
    "keys": ("Make, list and revoke keys; sign in for a page.", ("keys", "sessions")),
    "operations": ("Health, metrics and this documentation.", ("operations", "docs")),
    "pages": ("Pages for people, and what they are made of.", ("viewer", "files")),
}
_TAG_OF = {blueprint: tag for tag, (_, blueprints) in TAGS.items() for blueprint in blueprints}
# What a frame of a stream that is not a contract's holds behind `data:`, for programs.
_FRAMES_HOLD = {"feed": "Event", "log": "LoggedAttempt"}
# Bodies and answers that may also come in another form than JSON.
OTHER_FORMS: Mapping[str, dict[str, Any]] = {
    "EventsIn": {"application/x-ndjson": {"schema": {"type": "string"}, "example": examples.lines("EventIn")}},
    "Published": {"application/x-ndjson": {"schema": {"type": "string"}, "example": examples.lines("EventOut")}},
    "page": {"text/markdown": {"schema": {"type": "string"}}},
}
# The methods that OpenAPI 3.1 knows, of those that are used here, and where the others stand: an extension that the
# OpenAPI Initiative has registered for them, which tools that do not know it pass over.
KNOWN_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "PATCH"})
FURTHER = "x-oai-additionalOperations"
_NOTHING = "Nothing"  # the body of a request that takes none
_DESCRIPTION = """\
One event, two deliveries: live to whoever is watching, and reliably to everyone who registered.

Send a key as `Authorization: Bearer <key>` or `X-API-Key: <key>`. A platform key (`sk_…`) names the workspace it acts
for in `X-Workspace`, by id or uid. Errors are `application/problem+json` (RFC 9457) with a `code` to match on, a
`detail` that says what to do, and a `trace_id`. A POST with an `Idempotency-Key` may be repeated safely."""


def document(routes: Mapping[str, ApiRoute], server_url: str, types: Iterable[EventType] = ()) -> dict[str, Any]:
    """The whole document. routes: by the name of their Flask endpoint. server_url: where clients reach this API. types:
    those that contracts declare."""
    paths: dict[str, dict[str, Any]] = {}
    for name, declared in sorted(routes.items(), key=lambda pair: (pair[1].path, pair[1].method)):
        path, operation = paths.setdefault(declared.path, {}), _operation(name, declared)
        if declared.method in KNOWN_METHODS:
            path[declared.method.lower()] = operation
        else:
            path.setdefault(FURTHER, {})[declared.method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Twofold", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": server_url}],
        "security": [{"bearer": []}, {"header": []}],
        "tags": [{"name": tag, "description": about} for tag, (about, _) in TAGS.items()],
        "paths": paths,
        "webhooks": webhooks.webhooks(types),
        "components": {
            "schemas": SCHEMAS | {"Problem": _problem(routes)} | _bodies(routes),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation of a document, with its path and its method (in capitals)."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != FURTHER:
                yield path, method.upper(), operation
        for method, operation in methods.get(FURTHER, {}).items():
            yield path, method, operation


def operation_of(document: Mapping[str, Any], path: str, method: str) -> dict[str, Any]:
    """An operation of a document. Raises KeyError."""
    return {(at, name): operation for at, name, operation in operations(document)}[path, method]


def _problem(routes: Mapping[str, ApiRoute]) -> dict[str, Any]:
    """The schema of a refusal, with the codes that contracts have besides ours."""
    problem = SCHEMAS["Problem"]
    code = problem["properties"]["code"]
    own = sorted({one for route in routes.values() for one in route.refusals}.difference(code["enum"]))
    return problem | {"properties": problem["properties"] | {"code": code | {"enum": [*code["enum"], *own]}}}


def _bodies(routes: Mapping[str, ApiRoute]) -> dict[str, Any]:
    """The schemas of the requests' bodies, by name."""
    declared = {_body_name(name, route): route.body for name, route in sorted(routes.items()) if route.body is not None}
    return {name: shapes.body_schema(fields) for name, fields in declared.items()}


def _body_name(name: str, declared: ApiRoute) -> str:
    """What the schema of a route's body is called: create_endpoint takes a CreateEndpoint."""
    return name.rpartition(".")[2].title().replace("_", "") if declared.body else _NOTHING


def _operation(name: str, declared: ApiRoute) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": name.rpartition(".")[2],
        "summary": declared.summary,
        "tags": [_tag(name)],
    }
    return made | dict(declared.operation or _described(name, declared))


def _tag(name: str) -> str:
    blueprint = name.partition(".")[0]
    return _TAG_OF.get(blueprint, blueprint)


def _described(name: str, declared: ApiRoute) -> dict[str, Any]:
    answers = {str(status): _response(answer) for status, answer in declared.answers.items()}
    made: dict[str, Any] = {
        "parameters": _parameters(declared),
        "responses": answers | refusals.responses(declared),
    }
    if needs := {item.name: [item.needs] for item in declared.query if item.needs}:
        made["x-dependent-required"] = needs  # OpenAPI 3.1 has no way to say it of parameters
    if declared.public:
        made["security"] = []
        made["description"] = f"Needs no key: {declared.public}."
    else:
        made["description"] = f"Needs the scope `{declared.scope}`."
    if declared.body is not None or declared.body_schema:
        required = declared.body is None or any(item.required for item in declared.body)
        schema = declared.body_schema or _body_name(name, declared)
        example = examples.body(declared.body) if declared.body else examples.answer(declared.body_schema)
        shown = {"schema": _ref(schema)} | ({} if example is None else {"example": example})
        content = {JSON: shown, **OTHER_FORMS.get(schema, {})}
        made["requestBody"] = {"required": required, "content": content}
    return made


def _parameters(declared: ApiRoute) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _shape(name, declared), "description": _about(name)}
        for name in re.findall(r"\{(\w+)\}", declared.path)
    ]
    for item in declared.query:
        one = {
            "name": item.name,
            "in": "query",
            "required": item.required,
            "schema": shapes.schema(item),
            "description": item.about,
        }
        made.append(one | ({"style": "form", "explode": False} if item.kind == "texts" else {}))
    if not declared.public and declared.acts_for != PLATFORM:
        needed = "a platform key may name" if declared.acts_for == OPTIONAL_WORKSPACE else "a platform key must name"
        made.append(_header("X-Workspace", f"the workspace that {needed}, by id or uid", shapes.WORKSPACE))
    if declared.method == "POST":
        about = "repeats with the same key have one effect and get the same answer"
        made.append(_header("Idempotency-Key", about, shapes.KEY))
    for name, pattern, about in declared.headers:
        made.append(_header(name, about, shapes.matching(pattern)))
    return made


_ABOUT_PATH = {
    "workspace": "id or uid",
    "kind": "the kind of the stream",
    "stream_id": "your id of the stream",
    "name": "the name of the file",
    "type": "the name of the event type",
    "page": "the name of the page",
    "consumer": "your name of the consumer",
}


def _about(name: str) -> str:
    """What a path parameter is, by its name."""
    if name in IDS:
        prefix, what = IDS[name]
        return f"the id of the {what}, {prefix}_…" + (", or your uid of it" if name in HAVE_UIDS else "")
    return _ABOUT_PATH.get(name, name)


_PATH_SHAPES = {
    "workspace": shapes.WORKSPACE,
    "kind": shapes.KIND,
    "stream_id": shapes.STREAM_ID,
    "type": shapes.NEW_TYPE,
    "consumer": shapes.matching(consumer.NAME),
}


def _shape(name: str, declared: ApiRoute) -> dict[str, Any]:
    """The form of a path parameter, by its name."""
    if name in HAVE_UIDS:
        return shapes.ENDPOINT
    if name == "kind" and declared.scope == "publish":
        return shapes.NEW_KIND  # the workspace's own streams are read only
    if name in IDS:
        return shapes.id_of(IDS[name][0])
    return _PATH_SHAPES.get(name, shapes.matching(r"[A-Za-z0-9_.-]+", maxLength=100))


def _header(name: str, about: str, shape: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": shape, "description": about}


def _response(answer: str) -> dict[str, Any]:
    if not answer:
        return {"description": "Done"}
    if answer in OTHER_ANSWERS:
        content_type, about = OTHER_ANSWERS[answer]
        if not content_type:
            return {"description": about}
        shown = {"schema": {"type": "string"}}
        if answer in _FRAMES_HOLD:
            shown["x-frame-data"] = _ref(_FRAMES_HOLD[answer])
        content = {content_type: shown, **OTHER_FORMS.get(answer, {})}
        return {"description": about, "content": content}
    about = SCHEMAS[answer].get("description", "An answer")
    example = examples.answer(answer)
    json_form = {"schema": _ref(answer)} | ({} if example is None else {"example": example})
    return {"description": about, "content": {JSON: json_form, **OTHER_FORMS.get(answer, {})}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
