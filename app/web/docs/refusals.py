"""What a declared route may be refused for: by how it is declared, and by what its handler says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from app.core.problem import CODES
from app.web.docs import examples
from app.web.http.call import PLATFORM, WORKSPACE, ApiRoute
from app.web.http.problems import CONTENT_TYPE
from app.web.http.routes import IDS

PROBLEM = {"$ref": "#/components/schemas/Problem"}
_BODY = ("bad_request", "invalid_json", "request_timeout", "too_large", "unsupported_media_type", "invalid", "too_many")


def responses(declared: ApiRoute) -> dict[str, Any]:
    """The OpenAPI responses for everything that the route may be refused for, by status."""
    by_status: dict[int, list[str]] = {}
    for code in sorted({*_of_guard(declared), *declared.refusals}, key=list(CODES).index):
        by_status.setdefault(CODES[code][0], []).append(code)
    made = {str(status): _response(by_status[status]) for status in sorted(by_status)}
    return made | {"default": {"description": "Anything else that is wrong, in the same form", "content": _CONTENT}}


def _of_guard(declared: ApiRoute) -> Iterator[str]:
    """The codes of what is checked before the handler and around it (see app.web.http.routes)."""
    if declared.public:
        return
    yield from ("unauthorized", "forbidden", "invalid", "unavailable")
    if declared.acts_for == WORKSPACE:
        yield "bad_request"
    named = set(re.findall(r"\{(\w+)\}", declared.path))
    if declared.acts_for != PLATFORM or named & {*IDS, "workspace"}:
        yield "not_found"
    if declared.body is None or declared.method == "GET":
        yield from _BODY if declared.body_schema else ()
    else:
        yield from _BODY
    if declared.transaction and declared.method != "GET":
        yield "conflict"
    if declared.transaction and declared.method == "POST":
        yield "idempotency_conflict"


def _response(codes: list[str]) -> dict[str, Any]:
    content = {kind: shown | {"example": examples.refusal(codes)} for kind, shown in _CONTENT.items()}
    return {"description": "; ".join(f"{code}: {CODES[code][1]}" for code in codes), "content": content}


_CONTENT = {CONTENT_TYPE: {"schema": PROBLEM}}
