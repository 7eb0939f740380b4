"""The reference as Markdown, a page for each part of the API, made from its OpenAPI document. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from app.web.docs import markdown
from app.web.docs.markdown import Document
from app.web.docs.openapi import operations
from app.web.docs.rendering import anchor

WEBHOOKS = "api-webhooks"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_CODE = re.compile(r"(^|; )([a-z_]+): ")  # in the description of a refusal
# What stands for a path's parameter in an example.
_PATH_EXAMPLES = {
    "kind": "call",
    "stream_id": "call_42",
    "workspace": "acme",
    "key_id": "key_01kfxt1a2b3c4d5e6f7g8h9j0k",
    "event_id": "evt_01kfxt5c3s4bkqx1dwvm9h2r01",
    "endpoint_id": "ep_01kfxt2q8rbz4m6n0v5s7t9w1x",
    "delivery_id": "dlv_01kfxt5c3v8d2f4g6h0j1k3m5n",
    "token_id": "tok_01kfxt3d4e5f6g7h8j9k0m1n2p",
    "feed_token_id": "tok_01kfxt3d4e5f6g7h8j9k0m1n2p",
    "name": "icon.svg",
    "page": "verify",
}
_METHODS = {"GET": ["-s"], "POST": ["-s -X POST"]}


def pages(document: Document) -> Iterator[tuple[str, str]]:
    """The names and texts of all pages."""
    for tag in (part["name"] for part in document["tags"]):
        yield page_name(tag), _part(document, tag)
    yield WEBHOOKS, _webhooks(document)
    yield markdown.OBJECTS, _objects(document)


def page_name(tag: str) -> str:
    """What the page of a part is called in its address."""
    return "api-" + tag.replace(" ", "-").replace("_", "-")


def _part(document: Document, tag: str) -> str:
    found = [
        (method, path, operation) for path, method, operation in operations(document) if operation["tags"][0] == tag
    ]
    lines = [
        f"# {tag[0].upper()}{tag[1:]}",
        "",
        f"{markdown.count(len(found), 'route')}: what each takes and answers.",
        "",
    ]
    lines += [
        f"- [`{method} {path}`](#{anchor(f'{method} {path}')}): {operation['summary']}"
        for method, path, operation in found
    ]
    lines.append("")
    for method, path, operation in found:
        lines += [f"## {method} {path}", "", *_operation(document, operation)]
        lines += [*markdown.example("Request", _curl(method, path, operation)), *_answer_examples(operation), ""]
    return "\n".join(lines).rstrip() + "\n"


def _operation(document: Document, operation: Document) -> Iterator[str]:
    yield markdown.sentence(operation["summary"])
    if description := operation.get("description"):
        yield ""
        yield description
    elif operation.get("security") == []:
        yield ""
        yield "Needs no key."
    if operation["parameters"]:
        yield from markdown.table(
            ("parameter", "in", "is", "about"),
            [
                (
                    f"`{one['name']}`",
                    one["in"],
                    markdown.type_of(one["schema"]),
                    markdown.about(one, required=one["required"]),
                )
                for one in operation["parameters"]
            ],
        )
    if body := operation.get("requestBody"):
        content = next(iter(body["content"].values()))
        yield from _body(document, content)
    yield from _answers(operation)


def _body(document: Document, content: Document) -> Iterator[str]:
    schema = _resolved(document, content["schema"])
    if schema.get("properties"):
        yield from markdown.members("field of the body", schema)
    elif description := schema.get("description"):
        yield ""
        yield f"Body: {description}"


def _answers(operation: Document) -> Iterator[str]:
    rows = []
    for status, answer in operation["responses"].items():
        schemas = [content.get("schema", {}) for content in answer.get("content", {}).values()]
        about = markdown.cell(answer["description"])
        if _PROBLEM in schemas:
            about = _CODE.sub(r"\1[\2](/docs/errors#\2): ", about)
        elif schemas and "$ref" in schemas[0]:
            about += f" → {markdown.linked(schemas[0]['$ref'])}"
        rows.append((status, about))
    yield from markdown.table(("answer", "meaning"), rows)


def _answer_examples(operation: Document) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        for kind, content in answer.get("content", {}).items():
            if status.startswith("2") and content.get("example"):
                yield from markdown.example(f"Answer {status}, `{kind}`", content["example"])


def _curl(method: str, path: str, operation: Document) -> str:
    """A command that makes such a request. $BASE is where the API is, $KEY a key."""
    for one in operation["parameters"]:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", _PATH_EXAMPLES.get(one["name"], f"{one['name']}_1"))
    asked = [f"{one['name']}=call_42" for one in operation["parameters"] if one["in"] == "query" and one["required"]]
    words = [
        "curl",
        *_METHODS.get(method, [f"-s -X {method}"]),
        f'"$BASE{path}{"?" if asked else ""}{"&".join(asked)}"',
    ]
    if operation.get("security") != []:
        words.append('-H "Authorization: Bearer $KEY"')
    if body := operation.get("requestBody"):
        example = next(iter(body["content"].values())).get("example")
        if example is not None:
            text = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
            words += ["-H 'Content-Type: application/json'", f"\\\n  -d '{text}'"]
    return "\n".join(line.rstrip() if line.endswith(" ") else line for line in " ".join(words).split("\n"))


def _webhooks(document: Document) -> str:
    lines = [
        "# Webhooks",
        "",
        "What your endpoint is sent: an HTTP POST with the event's envelope as its body, signed as"
        " [Verify a webhook](/docs/verify) says. These types are declared; others come as they were posted.",
        "",
    ]
    for name, methods in document["webhooks"].items():
        operation = methods["post"]
        lines += [f"## {name}", "", markdown.sentence(operation["summary"]), ""]
        content = operation["requestBody"]["content"]["application/json"]
        lines += [
            *markdown.members("member of data", _data_of(content["schema"])),
            *markdown.example("Body", content["example"]),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _data_of(schema: Document) -> Document:
    """The schema of the payload in that of a webhook's body."""
    parts = schema.get("allOf", [schema])
    found: Document = parts[-1].get("properties", {}).get("data", {})
    return found


def _objects(document: Document) -> str:
    lines = [
        "# Objects",
        "",
        "What the routes answer, by name. Answers may gain members; none is renamed or removed.",
        "",
    ]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"## {name}", "", schema.get("description", ""), ""]
        if schema.get("properties"):
            lines += [*markdown.members("member", schema), ""]
    return "\n".join(lines).rstrip() + "\n"


def _resolved(document: Document, schema: Document) -> Document:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema
