"""Reads a request strictly: its credential, its body, its query. Every refusal says what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Request, request

from app.core.problem import MOST_COMPLAINTS, Complaint, Problem, complaint, invalid_fields
from app.core.wire.json_text import read_json
from app.web.http.fields import Field, check, from_query

JSON = "application/json"


def present() -> Request:
    """The request that is being answered. Flask's `request` looks it up at each use, which adds up on a busy route."""
    found: Request = request._get_current_object()  # type: ignore[attr-defined]  # it is a LocalProxy
    return found


@dataclass(frozen=True, slots=True)
class SentSecrets:
    """The secrets in a request's headers, "" where there is none.

    scheme: of Authorization, in lowercase; bearer: its secret, if the scheme is Bearer; api_key: of X-API-Key.
    """

    scheme: str
    bearer: str
    api_key: str


def sent_secrets(request: Request) -> SentSecrets:
    """What a request's headers hold to show who is calling (RFC 6750 section 2.1, and X-API-Key)."""
    environ = request.environ  # request.headers looks there, too, by ways that take ten times as long
    scheme, _, secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    scheme = scheme.lower()
    return SentSecrets(scheme, secret.strip() if scheme == "bearer" else "", environ.get("HTTP_X_API_KEY", "").strip())


def credential(request: Request) -> str:
    """The key that came with the request. Raises Problem unauthorized when there is none."""
    sent = sent_secrets(request)
    if sent.scheme not in ("", "bearer"):
        raise Problem("unauthorized", "Send the key as Authorization: Bearer <key>, or as X-API-Key: <key>.")
    key = sent.bearer or sent.api_key
    if not key:
        raise Problem("unauthorized", "A key is missing: send Authorization: Bearer <key>, or X-API-Key: <key>.")
    return key


def read_body(request: Request, fields: Sequence[Field], raw: bytes, max_depth: int) -> dict[str, Any]:
    """The body as a checked object; {} for an empty one when nothing is required. Raises Problem."""
    if request.method == "QUERY":
        _require_content_type(request)
    elif not raw and not any(item.required for item in fields):
        return {}
    require_json(request)
    value = read_object(raw, max_depth)
    refuse(check(fields, value))
    kinds = {item.name: item.kind for item in fields}
    return {name: _whole(kinds[name], one) for name, one in value.items()}


def read_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    """A JSON object in which no name is given twice, at whatever depth. Raises Problem."""
    text, value = read_json(raw, max_depth)
    if not isinstance(value, dict):
        raise Problem("invalid", "The body must be a JSON object.")
    repeated: list[str] = []
    json.loads(text, object_pairs_hook=lambda pairs: _note_repeats(pairs, repeated), parse_int=str)
    refuse([complaint(name, "is given twice in one object") for name in repeated[: MOST_COMPLAINTS + 1]])
    return value


def _whole(kind: str, value: Any) -> Any:
    """The value with integers as such: 7.0 is one, too."""
    if value is None or kind not in ("integer", "integers"):
        return value
    return int(value) if kind == "integer" else [int(one) for one in value]


def _require_content_type(request: Request) -> None:
    """Raises Problem bad_request for a query that does not say what it is (RFC 10008 asks for that)."""
    if not request.headers.get("Content-Type"):
        raise Problem("bad_request", f"A QUERY has to say what its body is: send Content-Type: {JSON}.")


def require_json(request: Request) -> None:
    """Raises Problem unless the body is said to be JSON in UTF-8."""
    if request.environ.get("CONTENT_TYPE") == JSON:  # as nearly all say it: nothing to take apart
        return
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != JSON or charset not in ("utf-8", "utf8"):
        given = request.headers.get("Content-Type") or "none"
        raise Problem("unsupported_media_type", f"Send the body with Content-Type: {JSON}; this request has {given}.")


def read_query(request: Request, fields: Sequence[Field]) -> dict[str, Any]:
    """The query as checked values. Raises Problem, also for an unknown parameter: a misspelled filter must not pass."""
    if not request.query_string and not any(item.required for item in fields):
        return {}
    values, complaints = from_query(fields, {name: request.args.getlist(name) for name in request.args})
    refuse(complaints)
    return values


def refuse(complaints: Sequence[Complaint]) -> None:
    """Raises Problem invalid when anything is wrong."""
    if complaints:
        raise invalid_fields(complaints)


def _note_repeats(pairs: list[tuple[str, Any]], repeated: list[str]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            repeated.append(name)
        seen.add(name)
