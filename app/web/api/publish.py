"""POST /v1/events: one object, an array of them, or NDJSON. Answered only after the events are committed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import gevent
from flask import Blueprint, Response

from app.core.event import drafts, names
from app.core.event.acceptance import Accepted
from app.core.event.drafts import Draft
from app.core.problem import Problem
from app.core.wire import json_text, trace
from app.ledger.ledger import Answers, Submission
from app.settings import Settings
from app.web import accept_spans
from app.web.http.bodies import read_bytes
from app.web.http.call import Answer, Call
from app.web.http.problems import trace_id
from app.web.http.reading import JSON, present, require_json
from app.web.http.routes import route
from app.web.http.turns import Turns

api = Blueprint("publish", __name__)

AT_A_STRETCH = 16  # answers that are written before others get their turn: less than a millisecond

T = TypeVar("T")

NDJSON = "application/x-ndjson"
_turns = Turns()
_TRACEPARENT = (
    "traceparent",
    trace.PATTERN,
    "the trace of those events that name none of their own (W3C Trace Context); one that is malformed is ignored",
)


@route(
    api,
    "POST",
    "/v1/events",
    scope="publish",
    body_schema="EventsIn",
    transaction=False,
    judges=True,
    answers={202: "Published", 200: "EventOut"},
    refusals=("stream_ended", "schema_mismatch", "idempotency_conflict"),
    headers=(_TRACEPARENT,),
    summary="Publish an event, an array of events, or one event per line (application/x-ndjson)",
)
def publish(call: Call) -> Answer | Response:
    settings, request = call.engine.settings, present()
    began = time.time_ns() if call.engine.tracing is not None else 0
    lines = request.environ.get("CONTENT_TYPE") != JSON and request.mimetype == NDJSON
    if not lines:
        require_json(request)
    raw = read_bytes(request, settings.max_batch_bytes, call.caller.key_id)
    if lines:
        answers = _accept(call, raw, json_text.split_lines, began)
        body = b"".join(Answer(_shown(answer)).content() + b"\n" for answer in breathing(answers))
        return Response(body, 202, content_type=NDJSON)
    if raw.lstrip(b" \t\r\n").startswith(b"["):
        answers = _accept(call, raw, partial(json_text.split_array, most=settings.max_batch_events), began)
        return Answer({"data": [_shown(answer) for answer in breathing(answers)]}, 202)
    draft = drafts.with_key(
        drafts.read_event(raw, settings.max_event_bytes, settings.max_json_depth), call.idempotency_key
    )
    draft = drafts.with_trace(draft, request.environ.get("HTTP_TRACEPARENT"))
    only = _commit(call, [draft], began)[0]
    try:
        if isinstance(only, Problem):
            raise only
        return Answer(only.body(), 200 if only.duplicate else 202)
    finally:
        del only  # or a refusal, its traceback and this frame would keep each other, and the body


def _commit(call: Call, drafts: Sequence[Draft], began: int) -> Answers:
    """Commit a request's events. began: when the request was, for its spans."""
    tracing, ledger = call.engine.tracing, call.engine.ledger
    if tracing is None:
        return ledger.accept(Submission(call.workspace_id, drafts, presented=call.presented))
    with accept_spans.around(tracing, call.workspace_id, drafts, began) as traced:
        answers = ledger.accept(Submission(call.workspace_id, traced.drafts, presented=call.presented))
        traced.answers = answers
        return answers


def _accept(call: Call, raw: bytes, split: Callable[[bytes], Sequence[bytes]], began: int) -> list[Accepted | Problem]:
    """Accept many: an event that cannot be read is refused in its place, and its neighbours are accepted."""
    settings = call.engine.settings
    most, read = settings.max_batch_events, list[Draft | Problem]()
    with _turns.one(len(raw)) as pause:
        events = split(raw)
        if len(events) > most:
            raise Problem("too_large", f"The batch has more than {most} events, the most there may be; split it.")
        for index, event in enumerate(events):
            pause()
            read.append(_read(event, index, call, settings))
    header = present().environ.get("HTTP_TRACEPARENT")
    good = [drafts.with_trace(draft, header) for draft in read if isinstance(draft, Draft)]
    if not good:
        call.confirm()
    answers = iter(_commit(call, good, began))
    return [next(answers) if isinstance(draft, Draft) else draft for draft in read]


def breathing(answers: Sequence[T]) -> Iterator[T]:
    """The answers, with others served in between: those of a large batch take tens of milliseconds of Python."""
    for index, answer in enumerate(answers, 1):
        if index % AT_A_STRETCH == 0:
            gevent.sleep(0)
        yield answer


def _read(raw: bytes, index: int, call: Call, settings: Settings) -> Draft | Problem:
    try:
        draft = drafts.read_event(raw, settings.max_event_bytes, settings.max_json_depth)
        return drafts.with_key(draft, _key_at(call.idempotency_key, index) if call.idempotency_key else None)
    except Problem as problem:
        return problem.alone()


def _key_at(header: str, index: int) -> str:
    """One header for many events: each takes the key with its place in the batch, and stays within a key's length."""
    key = f"{header}:{index}"
    return key if names.KEY.fullmatch(key) else f"{hashlib.sha256(header.encode()).hexdigest()}:{index}"


def _shown(answer: Accepted | Problem) -> dict[str, object]:
    return answer.body(trace_id()) if isinstance(answer, Problem) else answer.body()
