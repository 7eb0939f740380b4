"""/v1/event-types: the catalogue of what a workspace's events may be, by the contracts and by the workspace itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from flask import Blueprint
from sqlalchemy.orm import Session

from app.contracts.bounded_schema import BoundedSchema, Steps, complaints_about
from app.core.contract.model import Rules
from app.core.event import names, own_streams, schema_rules
from app.core.problem import Complaint, Problem, complaint, invalid, not_found
from app.ledger import event_types
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import Field
from app.web.http.reading import refuse
from app.web.http.routes import route

api = Blueprint("event_types", __name__)

MOST_EXAMPLE_BYTES = 16 * 1024  # it stands in the catalogue, and in test events
_MARK = re.compile(rf"({names.TYPE.pattern})/({names.KIND.pattern})?")

DESCRIPTION = Field("description", "text", "what such an event says, for people")
SCHEMA = Field(
    "schema",
    "object",
    f"JSON Schema (2020-12) of data, {schema_rules.MOST_BYTES} bytes at most, without references to elsewhere or to"
    " itself, unevaluated… words, and patterns that look around, refer back or repeat a repeat; null: none",
    nullable=True,
    example={"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}},
)
EXAMPLE = Field(
    "example",
    "object",
    f"data of such an event that fits the schema, {MOST_EXAMPLE_BYTES} bytes at most; null: none",
    nullable=True,
    example={"order": "o_17"},
)
CHECK = Field(
    "check",
    "text",
    "what becomes of an event that does not fit: it is only counted (warn), or refused as schema_mismatch (reject)",
    choices=(event_types.WARN, event_types.REJECT),
)
DEPRECATED = Field("deprecated", "boolean", "whether producers should stop sending it; it is accepted all the same")


@route(
    api,
    "GET",
    "/v1/event-types",
    scope="subscribe",
    query=paging.PAGE,
    answers={200: "EventTypeList"},
    summary="List the event types of the workspace's own, of contracts and of Twofold itself, by name",
)
def list_event_types(call: Call) -> Answer:
    rows = all_types(call.session, call.engine.rules, call.workspace_id)
    mark = paging.after_cursor(call.args, lambda text: _MARK.fullmatch(text) is not None)
    rest = [row for row in rows if mark is None or _mark_of(row) > tuple(mark.split("/"))]
    return Answer(paging.page(rest, paging.limit_of(call.args), lambda row: "/".join(_mark_of(row)), lambda row: row))


@route(
    api,
    "GET",
    "/v1/event-types/{type}",
    scope="subscribe",
    answers={200: "EventType"},
    summary="Read an event type: the workspace's own, else as the first contract, or Twofold itself, declares it",
)
def get_event_type(call: Call, type: str) -> Answer:
    return Answer(find_type(call.session, call.engine.rules, call.workspace_id, type))


@route(
    api,
    "PUT",
    "/v1/event-types/{type}",
    scope="manage",
    body=(DESCRIPTION, SCHEMA, EXAMPLE, CHECK, DEPRECATED),
    answers={200: "EventType", 201: "EventType"},
    refusals=("too_many",),
    summary="Declare an event type anew, for streams of every kind; it holds for each event from the answer on",
)
def put_event_type(call: Call, type: str) -> Answer:
    if type in names.RESERVED_TYPES or type in own_streams.TYPES:
        raise invalid("type", f"{type} is reserved; choose another name")
    refuse(_complaints(type, call.body))
    found, made = event_types.put_type(call.session, call.workspace_id, type, call.body)
    return Answer(found.shown(), 201 if made else 200)


@route(
    api,
    "DELETE",
    "/v1/event-types/{type}",
    scope="manage",
    answers={204: ""},
    summary="Forget one of the workspace's own event types; what contracts declare stays",
)
def delete_event_type(call: Call, type: str) -> Answer:
    event_types.delete_type(call.session, call.workspace_id, type)
    return Answer(None, 204)


def all_types(session: Session, rules: Rules, workspace_id: str) -> list[dict[str, Any]]:
    """The catalogue as the API shows it, by name; of the same name the workspace's own first, then by kind."""
    own = [one.shown() for one in event_types.list_types(session, workspace_id)]
    return sorted([*own, *_declared(rules)], key=_mark_of)


def find_type(session: Session, rules: Rules, workspace_id: str, type: str) -> dict[str, Any]:
    """A type of the catalogue, the workspace's own first. Raises Problem not_found."""
    own = event_types.find_type(session, workspace_id, type)
    if own is not None:
        return own.shown()
    declared = min((row for row in _declared(rules) if row["type"] == type), key=_mark_of, default=None)
    if declared is None:
        raise not_found("event type")
    return declared


def example_of(session: Session, rules: Rules, workspace_id: str, type: str) -> dict[str, Any]:
    """The example of a type. Raises Problem unknown_type."""
    try:
        example = find_type(session, rules, workspace_id, type)["example"]
    except Problem:
        example = None
    if example is None:
        text = f"The catalogue (GET /v1/event-types) has no example of {type}; PUT one, or leave the type out."
        raise Problem("unknown_type", text)
    return dict(example)


def _declared(rules: Rules) -> Iterable[dict[str, Any]]:
    """The types that contracts declare, and our own of the stream `operations`."""
    always: dict[str, Any] = {"deprecated": False, "created_at": None, "updated_at": None}
    for one in rules.types.values():
        told: dict[str, Any] = {
            "description": one.about,
            "schema": one.schema,
            "example": one.example,
            "check": one.check,
        }
        yield {"type": one.type, "source": "contract", "kind": one.kind, **told, **always}
    for type, (about, example) in own_streams.TYPES.items():
        told = {"description": about, "schema": None, "example": example, "check": event_types.WARN}
        yield {"type": type, "source": "twofold", "kind": names.OWN_KIND, **told, **always}


def _mark_of(row: dict[str, Any]) -> tuple[str, str]:
    """What a type is found by in the list: its name and its kind, '' for the workspace's own."""
    return row["type"], row["kind"] or ""


def _complaints(type: str, wanted: dict[str, Any]) -> list[Complaint]:
    schema, example = wanted.get("schema"), wanted.get("example")
    complaints = [] if schema is None else complaints_about(schema)
    if example is not None and len(json.dumps(example, ensure_ascii=False).encode()) > MOST_EXAMPLE_BYTES:
        complaints.append(complaint("example", f"has more than {MOST_EXAMPLE_BYTES} bytes"))
    if not complaints and schema is not None and example is not None:
        refused = BoundedSchema(schema).refuses(example, type, Steps(), "example")
        complaints += [] if refused is None else [refused]
    return complaints
