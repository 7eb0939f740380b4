"""Routes as declarations. A route that is declared here is guarded; there is no other way to make one.

    @route(api, "POST", "/v1/endpoints", scope="manage", body=FIELDS, answers={201: "Endpoint"}, summary="…")
    def create(call: Call) -> Answer: …

The declaration says who may call and what is read; the guard does it, in this order: key (401), scope (403), workspace
(400, 404), form of the ids in the path (404), query (422), body (413, 415, 400, 422), then one transaction around the
handler. The same declaration makes /openapi.json and /docs.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from flask import Blueprint, Flask, Response, request
from sqlalchemy.orm import Session

from app import idempotency
from app.access import Caller
from app.core import drafts, ids
from app.core.problem import Problem, invalid, not_found
from app.web.fields import Field
from app.web.parse import JSON, credential, read_body, read_bytes, read_query
from app.web.parts import Parts, parts

# Names of path parameters: what they are an id of.
IDS = {
    "key_id": (ids.KEY, "key"),
    "endpoint_id": (ids.ENDPOINT, "endpoint"),
    "event_id": (ids.EVENT, "event"),
    "delivery_id": (ids.DELIVERY, "delivery"),
    "token_id": (ids.TOKEN, "token"),
}
WORKSPACE, OPTIONAL_WORKSPACE, PLATFORM = "workspace", "optional", "platform"
_ROUTES = "twofold.routes"


@dataclass(frozen=True, slots=True)
class Admission:
    """Who was let in, and for which workspace ('' when the route has none)."""

    caller: Caller
    workspace_id: str


@dataclass(frozen=True, slots=True)
class Route:
    """A declared route. public: why it needs no key, or ''. acts_for: the workspace it needs. answers: status to the
    name of a schema (see schemas.py), '' for no body. operation: its OpenAPI operation, where it is not made from the
    others."""

    method: str
    path: str
    scope: str
    summary: str
    public: str = ""
    acts_for: str = WORKSPACE
    body: tuple[Field, ...] | None = None
    body_schema: str = ""
    query: tuple[Field, ...] = ()
    answers: Mapping[int, str] = field(default_factory=dict)
    operation: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Call:
    """One admitted request, read and checked. due: set by a handler whose transaction makes a delivery due."""

    parts: Parts
    caller: Caller
    workspace_id: str
    args: dict[str, Any]
    body: dict[str, Any]
    idempotency_key: str | None = None
    due: bool = False
    _session: Session | None = None

    @property
    def session(self) -> Session:
        """The transaction around the handler."""
        if self._session is None:
            raise RuntimeError("this route was declared without a transaction")
        return self._session


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back: a JSON value, JSON text as bytes, or None for no body."""

    value: Any
    status: int = 200

    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.value, bytes):
            return self.value
        if self.value is None:
            return b""
        # "replace": a refusal in a batch may quote half a surrogate pair that the caller sent.
        return json.dumps(self.value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


Handler = Callable[..., Answer | Response]
Admit = Callable[[Route], Admission]


def route(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    scope: str,
    summary: str,
    answers: Mapping[int, str],
    acts_for: str = WORKSPACE,
    body: Sequence[Field] | None = None,
    body_schema: str = "",
    query: Sequence[Field] = (),
    transaction: bool = True,
    admit: Admit | None = None,
) -> Callable[[Handler], Handler]:
    """Declare a route with a key behind it.

    acts_for: WORKSPACE (a platform key must name one), OPTIONAL_WORKSPACE (a platform key may) or PLATFORM (no
    workspace; the handler decides what a workspace key may). body None: the handler reads the body itself, which
    `body_schema` names; (): no body. transaction False: the handler opens its own. admit: another way in than a key.
    """
    fields = None if body is None else tuple(body)
    declared = Route(method, path, scope, summary, "", acts_for, fields, body_schema, tuple(query), dict(answers))

    def declare(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def view(**path_values: str) -> Response:
            admission = (admit or by_key)(declared)
            _check_path(path_values)
            call = Call(parts(), admission.caller, admission.workspace_id, read_query(request, declared.query), {})
            return _perform(declared, handler, call, path_values, transaction)

        declare_view(blueprint, declared, view)
        return handler

    return declare


def open_route(
    blueprint: Blueprint, method: str, path: str, *, why: str, summary: str, answers: Mapping[int, str]
) -> Callable[[Handler], Handler]:
    """Declare a route that needs no key, saying why."""
    declared = Route(method, path, "", summary, why, PLATFORM, answers=dict(answers))

    def declare(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def view(**path_values: str) -> Response:
            return _response(handler(**path_values))

        declare_view(blueprint, declared, view)
        return handler

    return declare


def routes_of(app: Flask) -> dict[str, Route]:
    """The declared routes by Flask endpoint name."""
    return cast(dict[str, Route], app.extensions.setdefault(_ROUTES, {}))


def by_key(declared: Route) -> Admission:
    """Let in whoever has a key with the scope. Raises Problem."""
    access = parts().access
    caller = access.authenticate(credential(request))
    if caller is None:
        raise Problem("unauthorized", "This key is not known, or it has been revoked; ask for a new one.")
    caller.require(declared.scope)
    named = request.headers.get("X-Workspace")
    if declared.acts_for == PLATFORM or (declared.acts_for == OPTIONAL_WORKSPACE and caller.is_platform and not named):
        return Admission(caller, "")
    return Admission(caller, access.workspace_for(caller, named))


def declare_view(
    blueprint: Blueprint, declared: Route, view: Callable[..., Response], *, websocket: bool = False
) -> None:
    """Serve a view under its declaration. The view itself sees to the guard."""
    name = view.__name__
    rule = re.sub(r"\{(\w+)\}", r"<\1>", declared.path)
    blueprint.add_url_rule(rule, name, view, methods=[declared.method])
    if websocket:  # werkzeug routes handshakes apart; the plain rule stays, to say what this path speaks
        blueprint.add_url_rule(rule, name, view, websocket=True)
    blueprint.record(lambda state: routes_of(cast(Flask, state.app)).__setitem__(f"{blueprint.name}.{name}", declared))


def _check_path(values: Mapping[str, str]) -> None:
    """Raises Problem for an id that cannot be one: no need to ask the database."""
    for name, value in values.items():
        if name in IDS:
            prefix, what = IDS[name]
            try:
                ids.created_at_of(value if ids.is_id(prefix, value) else "")
            except ValueError:
                raise not_found(what) from None
        elif name == "kind" and not drafts.KIND.fullmatch(value):
            raise invalid("kind", drafts.KIND_HINT)
        elif name == "stream_id" and not drafts.EXTERNAL_ID.fullmatch(value):
            raise invalid("stream_id", drafts.EXTERNAL_ID_HINT)


def _perform(
    declared: Route, handler: Handler, call: Call, path_values: Mapping[str, str], transaction: bool
) -> Response:
    settings = call.parts.settings
    raw = b""
    if declared.body is not None and request.method not in ("GET", "HEAD"):
        raw = read_bytes(request, settings.max_event_bytes)
        call.body = read_body(request, declared.body, raw, settings.max_json_depth)
    if request.method == "POST":
        call.idempotency_key = _idempotency_key()
    if not transaction:
        return _response(handler(call, **path_values))
    with call.parts.database.session() as session:
        call._session = session
        if call.idempotency_key is None:
            response = _response(handler(call, **path_values))
        else:
            response = _once(handler, call, path_values, raw)
    if call.due:
        call.parts.ring()  # after the commit: what is rung for can be seen
    return response


def _once(handler: Handler, call: Call, path_values: Mapping[str, str], raw: bytes) -> Response:
    """Do it, unless this Idempotency-Key was answered before: then give that answer again."""
    settings, session, key = call.parts.settings, call.session, call.idempotency_key or ""
    keys = settings.secret_keys
    owner = f"{call.caller.key_id}/{call.workspace_id}"
    # Everything that decides what the request does. The target holds no secret here: tokens come on GETs only.
    parts_of_it = (request.method.encode(), request.full_path.encode(), raw)
    fingerprint = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts_of_it)).digest()
    kept = idempotency.claim(session, keys, owner, key, fingerprint)
    if kept is not None:
        response = Response(kept.body, kept.status, content_type=JSON)
        response.headers["Idempotent-Replayed"] = "true"
        return response
    answer = handler(call, **path_values)
    if not isinstance(answer, Answer):
        raise TypeError("a route with a transaction gives an Answer")
    idempotency.keep(session, keys, owner, key, answer.status, answer.content())
    return _response(answer)


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not drafts.KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "give 1 to 255 printable ASCII characters without spaces")
    return key


def _response(answer: Answer | Response) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer.value is None:
        return Response(status=answer.status)
    return Response(answer.content(), answer.status, content_type=JSON)
