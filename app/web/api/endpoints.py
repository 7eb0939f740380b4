"""/v1/endpoints: registered webhook URLs."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from functools import partial
from typing import Any

from flask import Blueprint

from app.core import ids
from app.core.event import drafts, names
from app.core.event.acceptance import Accepted
from app.core.event.filters.reading import MOST_BYTES, MOST_LEVELS, MOST_TESTS
from app.core.problem import Problem, not_found
from app.core.times import read_time
from app.core.webhook.addresses import MAX_URL_LENGTH
from app.core.webhook.headers import FEED_CURSOR, MAX_HEADERS, VALUE, name_pattern
from app.core.webhook.headers import MAX_BYTES as MAX_HEADER_BYTES
from app.core.wire.envelope import rfc3339
from app.database.tables import Endpoint
from app.delivery import deliveries, endpoint_history, endpoint_rules, endpoints, reads
from app.ledger.ledger import Submission
from app.web.api import lanes
from app.web.api.event_types import example_of
from app.web.http import paging, shapes
from app.web.http.call import Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route

api = Blueprint("endpoints", __name__)

# The stream that test events belong to: one for each workspace, made when it is first needed.
TEST_KIND, TEST_STREAM, TEST_TYPE = "twofold", "tests", "twofold.test"
# Base64 of 24 to 64 bytes as it is written: whole groups of four, and a last one whose spare bits are zero.
_FOUR = "[A-Za-z0-9+/]{4}"
_BASE64 = rf"(?:(?:{_FOUR}){{8,21}}(?:[A-Za-z0-9+/][AQgw]==)?|(?:{_FOUR}){{8,20}}[A-Za-z0-9+/]{{2}}[AEIMQUYcgkosw048]=)"
_MOST_FILTERS = 100  # entries of one filter: matching is linear in them, for every event

# What a URL may be is told by addresses.check_url.
_URL_SHAPE = {"format": "uri", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[\x21-\x22\x24-\x5b\x5d-\x7e]+$"}
_URL = Field(
    "url",
    "text",
    "where to send: http or https, a host, no fragment; an address in it must be public, or in ALLOW_SUBNETS",
    shortest=1,
    longest=MAX_URL_LENGTH,
    shape=_URL_SHAPE,
)
UID = Field(
    "uid",
    "text",
    "your own name for it, unique in the workspace; it stands wherever an endpoint's id may",
    nullable=True,
    pattern=names.UID,
    hint=names.UID_HINT,
    longest=128,
    shape={"not": {"pattern": f"^{ids.ENDPOINT}_"}},
    example="billing",
)
URL = replace(_URL, required=True, example="https://example.com/in")
OPTIONS = (
    Field("description", "text", "a note for people"),
    Field(
        "event_types",
        "texts",
        "only these types; call.* means every type that begins with call.; null: all",
        nullable=True,
        pattern=re.compile(rf"\*|{names.TYPE.pattern}(?:\.\*)?"),
        hint="must be a type such as call.started, a prefix such as call.*, or *",
        least=1,
        most=_MOST_FILTERS,
        example=["call.*"],
    ),
    Field(
        "stream_kinds",
        "texts",
        "only streams of these kinds; null: all",
        nullable=True,
        pattern=names.KIND,
        hint=names.KIND_HINT,
        least=1,
        most=_MOST_FILTERS,
        example=["call"],
    ),
    Field(
        "headers",
        "text_map",
        f"headers to add to each webhook, {MAX_HEADERS} and {MAX_HEADER_BYTES} bytes at most; never shown again",
        nullable=True,
        shape={
            "propertyNames": {"pattern": f"^(?:{name_pattern()})$"},
            "additionalProperties": {"type": "string", "pattern": f"^(?:{VALUE})$"},
            "maxProperties": MAX_HEADERS,
        },
    ),
    Field("rate_limit", "integer", "requests per second at most; null: no limit", nullable=True, least=1, most=10_000),
    Field(
        "channels",
        "texts",
        "only events that carry at least one of these channels; null: all events",
        nullable=True,
        pattern=names.CHANNEL,
        hint=names.CHANNEL_HINT,
        least=1,
        most=endpoint_rules.MOST_CHANNELS,
        example=["project-7"],
    ),
    Field(
        "content_filter",
        "object",
        "only events whose data is so: a path (JSON Pointer) with eq, in, gt, gte, lt, lte or exists; and, or, not;"
        f" {MOST_TESTS} tests, {MOST_LEVELS} levels and {MOST_BYTES} bytes at most; null: all",
        nullable=True,
        shape=shapes.FILTER,
        example={"and": [{"path": "/amount", "gte": 100}, {"path": "/customer/tier", "in": ["gold", "silver"]}]},
    ),
    Field(
        "timeout_seconds",
        "integer",
        "for one attempt, when that is less than the server allows (15, unless it is set); null: what it allows",
        nullable=True,
        least=1,
        most=endpoint_rules.LONGEST_TIMEOUT_SECONDS,
    ),
    Field(
        "retry_delays_seconds",
        "integers",
        "from the end of each attempt to the next, within the delivery window; the last attempt is when that ends,"
        " whatever the schedule; null: the server's",
        nullable=True,
        least=1,
        most=endpoint_rules.MOST_DELAYS,
        each=(1, endpoint_rules.LONGEST_DELAY_SECONDS),
        example=[10, 60, 600, 3600],
    ),
    Field("feed_cursor", "boolean", f"true: each webhook has a header {FEED_CURSOR}, where GET /v1/feed reads on"),
    *lanes.FIELDS,
    Field(
        "metadata",
        "text_map",
        f"texts of your own, {names.MOST_METADATA} at most; shown with the endpoint, and used for nothing",
        nullable=True,
        shape={
            "propertyNames": {"pattern": f"^(?:{names.METADATA_NAME.pattern})$"},
            "additionalProperties": {
                "type": "string",
                "pattern": shapes.NO_NUL,
                "maxLength": names.LONGEST_METADATA,
            },
            "maxProperties": names.MOST_METADATA,
        },
        example={"team": "billing"},
    ),
)
SECRET = Field(
    "secret",
    "text",
    "your own signing secret: whsec_, then base64 of 24 to 64 random bytes; one is made when this is left out",
    pattern=re.compile(f"whsec_{_BASE64}"),
    hint="must be whsec_ and then base64 of 24 to 64 random bytes, with its padding",
    longest=endpoint_rules.LONGEST_SECRET,
    shape={"format": "webhook-secret"},
)
ENABLED = Field("enabled", "boolean", "false: it is disabled, and gets nothing until it is enabled")
SIGNING = Field(
    "signing",
    "text",
    "hmac (v1 signatures) or ed25519 (v1a signatures as well)",
    choices=(endpoints.HMAC, endpoints.ED25519),
)
STATUS = Field("status", "text", "enable or disable it", choices=(endpoints.ENABLED, endpoints.DISABLED))
TYPE = Field(
    "type",
    "text",
    f"send the example that the catalogue of event types has of this one; left out: {TEST_TYPE}",
    pattern=names.TYPE,
    hint=names.TYPE_HINT,
)
SINCE = Field("since", "time", "events from this time on", required=True, example="2026-11-20T10:00:00Z")
UNTIL = Field("until", "time", "events before this time")


@route(
    api,
    "POST",
    "/v1/endpoints",
    scope="manage",
    body=(UID, URL, *OPTIONS, SIGNING, SECRET, ENABLED),
    refusals=("conflict",),
    answers={201: "EndpointWithSecret"},
    summary="Register a webhook URL; its signing secret is in the answer",
)
def create_endpoint(call: Call) -> Answer:
    row = endpoints.create_endpoint(call.session, call.engine.settings, call.workspace_id, call.body)
    return Answer(_shown(call, row) | endpoints.read_secrets(call.session, call.engine.settings, row), 201)


@route(
    api,
    "PUT",
    "/v1/endpoints/{endpoint_id}",
    scope="manage",
    body=(URL, *OPTIONS, SIGNING, SECRET, ENABLED),
    answers={201: "EndpointWithSecret", 200: "EndpointWithSecret"},
    refusals=("conflict", "too_many"),
    summary="Register a webhook URL under a uid, or make what is registered there the same; may be repeated safely",
)
def put_endpoint(call: Call, endpoint_id: str) -> Answer:
    settings = call.engine.settings
    row, is_new = endpoints.put_endpoint(call.session, settings, call.workspace_id, endpoint_id, call.body)
    secrets = endpoints.read_secrets(call.session, settings, row)
    return Answer(_shown(call, row) | secrets, 201 if is_new else 200)


@route(
    api,
    "GET",
    "/v1/endpoints",
    scope="manage",
    query=paging.PAGE,
    answers={200: "EndpointList"},
    summary="List endpoints, newest first",
)
def list_endpoints(call: Call) -> Answer:
    read = partial(endpoints.list_endpoints, call.session, call.workspace_id)
    return Answer(paging.newest_first(call.args, ids.ENDPOINT, read, partial(_shown, call)))


@route(
    api,
    "GET",
    "/v1/endpoints/{endpoint_id}",
    scope="manage",
    answers={200: "Endpoint"},
    summary="Read an endpoint",
)
def get_endpoint(call: Call, endpoint_id: str) -> Answer:
    return Answer(_shown(call, endpoints.get_endpoint(call.session, call.workspace_id, endpoint_id)))


@route(
    api,
    "PATCH",
    "/v1/endpoints/{endpoint_id}",
    scope="manage",
    body=(UID, _URL, *OPTIONS, STATUS),
    answers={200: "Endpoint"},
    refusals=("conflict",),
    summary="Change an endpoint, disable it (what is pending is cancelled) or enable it",
)
def change_endpoint(call: Call, endpoint_id: str) -> Answer:
    row = endpoints.change_endpoint(call.session, call.engine.settings, call.workspace_id, endpoint_id, call.body)
    return Answer(_shown(call, row))


@route(
    api,
    "DELETE",
    "/v1/endpoints/{endpoint_id}",
    scope="manage",
    answers={204: ""},
    summary="Delete an endpoint; what is pending is cancelled, its deliveries can still be read",
)
def delete_endpoint(call: Call, endpoint_id: str) -> Answer:
    endpoints.delete_endpoint(call.session, call.workspace_id, endpoint_id)
    return Answer(None, 204)


@route(
    api,
    "GET",
    "/v1/endpoints/{endpoint_id}/secret",
    scope="manage",
    answers={200: "Secret"},
    summary="Read the signing secret, and former ones that still sign",
)
def get_secret(call: Call, endpoint_id: str) -> Answer:
    row = endpoints.get_endpoint(call.session, call.workspace_id, endpoint_id)
    return Answer(endpoints.read_secrets(call.session, call.engine.settings, row))


@route(
    api,
    "POST",
    "/v1/endpoints/{endpoint_id}/secret/rotate",
    scope="manage",
    body=(),
    answers={200: "Secret"},
    summary="Make a new signing secret; the present one also signs for another day",
)
def rotate_secret(call: Call, endpoint_id: str) -> Answer:
    row = endpoints.rotate_secret(call.session, call.engine.settings, call.workspace_id, endpoint_id)
    return Answer(endpoints.read_secrets(call.session, call.engine.settings, row))


@route(
    api,
    "POST",
    "/v1/endpoints/{endpoint_id}/test",
    scope="manage",
    body=(TYPE,),
    transaction=False,
    answers={202: "EventOut", 200: "EventOut"},
    refusals=("conflict", "stream_ended", "unknown_type", "schema_mismatch"),
    summary="Send a test event to this endpoint alone, whatever its filters say; of a type, its example",
)
def test_endpoint(call: Call, endpoint_id: str) -> Answer:
    with call.engine.database.session() as session:
        row = endpoints.get_endpoint(session, call.workspace_id, endpoint_id)
        type = call.body.get("type", TEST_TYPE)
        data = (
            example_of(session, call.engine.rules, call.workspace_id, type)
            if "type" in call.body
            else {"endpoint_id": row.id, "text": "A test of this endpoint, asked for by its owner."}
        )
    if row.status != endpoints.ENABLED:
        raise Problem("conflict", 'The endpoint is disabled; enable it first: PATCH {"status": "enabled"}.')
    key = _key_of_test(row.id, call.idempotency_key) if call.idempotency_key else None
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    draft = drafts.Draft(TEST_KIND, TEST_STREAM, type, text, data, None, key)
    (outcome,) = call.engine.ledger.accept(Submission(call.workspace_id, [draft], row.id))
    if not isinstance(outcome, Accepted):
        raise outcome
    return Answer(outcome.body(), 200 if outcome.duplicate else 202)


def _key_of_test(endpoint_id: str, header: str) -> str:
    """The caller's key, bound to the endpoint because all tests share one stream, and within a key's length."""
    key = f"{endpoint_id}/{header}"
    return key if names.KEY.fullmatch(key) else f"{endpoint_id}/{hashlib.sha256(header.encode()).hexdigest()}"


@route(
    api,
    "POST",
    "/v1/endpoints/{endpoint_id}/recover",
    scope="manage",
    body=(SINCE, UNTIL),
    answers={202: "Recovered"},
    summary="Deliver again what failed, was cancelled or was missed, of events since a time",
)
def recover_endpoint(call: Call, endpoint_id: str) -> Answer:
    until = call.body.get("until")
    done = deliveries.recover(
        call.session,
        call.workspace_id,
        _id(call, endpoint_id),
        since=read_time(call.body["since"]),
        until=read_time(until) if until is not None else None,
        window_seconds=call.engine.settings.delivery_window_seconds,
    )
    call.due = done.count > 0
    answer = {"retried": done.retried, "missed": done.missed, "complete": done.complete}
    next_since = {} if done.looked_until is None else {"next_since": rfc3339(done.looked_until)}
    return Answer(answer | next_since, 202)


@route(
    api,
    "GET",
    "/v1/endpoints/{endpoint_id}/stats",
    scope="manage",
    answers={200: "Stats"},
    summary="How an endpoint has been doing, and what waits for it",
)
def endpoint_stats(call: Call, endpoint_id: str) -> Answer:
    return Answer(reads.endpoint_stats(call.session, call.workspace_id, _id(call, endpoint_id)))


@route(
    api,
    "GET",
    "/v1/endpoints/{endpoint_id}/changes",
    scope="manage",
    answers={200: "EndpointChanges"},
    summary="List when an endpoint was enabled, disabled, failing and recovered, newest first",
)
def endpoint_changes(call: Call, endpoint_id: str) -> Answer:
    row = endpoints.get_endpoint(call.session, call.workspace_id, endpoint_id)
    changes = endpoint_history.changes_of(call.session.connection(), row.id)
    shown = [{"changed_at": rfc3339(one.changed_at), "state": one.state, "reason": one.reason} for one in changes]
    return Answer({"data": shown})


def _id(call: Call, reference: str) -> str:
    """The id of an endpoint by its id or uid. Raises Problem not_found for a uid that none has."""
    found = endpoints.find_id(call.session, call.workspace_id, reference)
    if found is None:
        raise not_found("endpoint")
    return found


def _shown(call: Call, row: Endpoint) -> dict[str, Any]:
    return endpoints.shown(row) | {"header_names": endpoints.header_names(call.engine.settings, row)}
