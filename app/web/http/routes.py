"""Routes as declarations. A route that is declared here is guarded; there is no other way to make one.

    @route(api, "POST", "/v1/endpoints", scope="manage", body=FIELDS, answers={201: "Endpoint"}, summary="…")
    def create(call: Call) -> Answer: …

The declaration says who may call and what is read; the guard does it, in this order: key (401), scope (403), workspace
(400, 404), form of the ids in the path (404), query (422), body (413, 415, 400, 422), then one transaction around the
handler. The same declaration makes /openapi.json and /docs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from flask import Blueprint, Flask, Request, Response

from app.accounts.callers import Presented
from app.accounts.keys import digest
from app.core import ids
from app.core.event import names
from app.core.feed import consumer
from app.core.problem import Problem, invalid, not_found
from app.ledger.ledger import Unreachable
from app.web.engine import engine
from app.web.http.bodies import read_bytes
from app.web.http.call import (
    OPTIONAL_WORKSPACE,
    PLATFORM,
    WORKSPACE,
    Admission,
    Admit,
    ApiRoute,
    Call,
    Handler,
    response_of,
)
from app.web.http.fields import Field
from app.web.http.reading import credential, present, read_body, read_query
from app.web.http.repeats import idempotency_key, once

# Names of path parameters: what they are an id of.
IDS = {
    "key_id": (ids.KEY, "key"),
    "endpoint_id": (ids.ENDPOINT, "endpoint"),
    "event_id": (ids.EVENT, "event"),
    "delivery_id": (ids.DELIVERY, "delivery"),
    "token_id": (ids.TOKEN, "token"),
    "feed_token_id": (ids.TOKEN, "token"),
    "link_id": (ids.PORTAL_LINK, "portal link"),
    "bulk_id": (ids.BULK_RETRY, "bulk retry"),
}
# Those of them that may also be their owners' own names.
HAVE_UIDS = ("endpoint_id",)
_ROUTES = "twofold.routes"


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
    refusals: Sequence[str] = (),
    headers: Sequence[tuple[str, str, str]] = (),
    transaction: bool = True,
    judges: bool = False,
    admit: Admit | None = None,
    websocket: bool = False,
) -> Callable[[Handler], Handler]:
    """Declare a route with a key behind it.

    acts_for: WORKSPACE (a platform key must name one), OPTIONAL_WORKSPACE (a platform key may) or PLATFORM (no
    workspace; the handler decides what a workspace key may). body None: the handler reads the body itself, which
    `body_schema` names; (): no body. refusals: codes of Problems that the handler raises. headers: what it reads of
    them (name, pattern, what it is). transaction False: the handler opens its own. judges: the handler has the database
    judge call.judged_along with what it does, so a key that was good lately is not looked up before. admit: another way
    in than a key. websocket: whether it opens a WebSocket.
    """
    declared = ApiRoute(
        method=method,
        path=path,
        scope=scope,
        summary=summary,
        acts_for=acts_for,
        body=None if body is None else tuple(body),
        body_schema=body_schema,
        query=tuple(query),
        answers=dict(answers),
        refusals=tuple(refusals),
        headers=tuple(headers),
        transaction=transaction,
        websocket=websocket,
    )

    let_in = admit or (by_known_key if judges else by_key)

    def declare(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def view(**path_values: str) -> Response:
            return _admitted(declared, handler, let_in(declared), path_values)

        declare_view(blueprint, declared, view, websocket=websocket)
        return handler

    return declare


def open_route(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    why: str,
    summary: str,
    answers: Mapping[int, str],
    refusals: Sequence[str] = (),
) -> Callable[[Handler], Handler]:
    """Declare a route that needs no key, saying why."""
    declared = ApiRoute(method, path, "", summary, why, PLATFORM, answers=dict(answers), refusals=tuple(refusals))

    def declare(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def view(**path_values: str) -> Response:
            return response_of(handler(**path_values))

        declare_view(blueprint, declared, view)
        return handler

    return declare


def routes_of(app: Flask) -> dict[str, ApiRoute]:
    """The declared routes by Flask endpoint name."""
    return cast(dict[str, ApiRoute], app.extensions.setdefault(_ROUTES, {}))


def by_key(declared: ApiRoute) -> Admission:
    """Admit whoever has a key with the scope. Raises Problem."""
    callers, asked = engine().callers, present()
    caller = callers.authenticate(credential(asked))
    if caller is None:
        raise Problem("unauthorized", "This key is unknown or has been revoked; ask for a new one.")
    caller.require(declared.scope)
    named = asked.environ.get("HTTP_X_WORKSPACE")
    if declared.acts_for == PLATFORM or (declared.acts_for == OPTIONAL_WORKSPACE and caller.is_platform and not named):
        return Admission(caller, "")
    return Admission(caller, callers.workspace_for(caller, named))


def by_known_key(declared: ApiRoute) -> Admission:
    """Admit whoever has a key that was good some seconds ago, to be judged again; others as by_key. Raises Problem."""
    callers, asked = engine().callers, present()
    secret, named = credential(asked), asked.environ.get("HTTP_X_WORKSPACE")
    sought = digest(secret)
    caller, workspace_id = callers.remembered(sought), ""
    if caller is not None:
        try:
            caller.require(declared.scope)
            workspace_id = callers.workspace_for(caller, named, remembered=True)
        except Problem:  # a key that has been revoked meanwhile is told that first
            caller = None
    if caller is None:
        admission = by_key(declared)
        caller, workspace_id = admission.caller, admission.workspace_id
    reference = named if named and named != caller.workspace_id else ""
    return Admission(caller, workspace_id, Presented(sought, reference))


def declare_view(
    blueprint: Blueprint, declared: ApiRoute, view: Callable[..., Response], *, websocket: bool = False
) -> None:
    """Serve a view under its declaration. The view itself has to admit the caller."""
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
            if name in HAVE_UIDS and not value.startswith(f"{prefix}_") and names.UID.fullmatch(value):
                continue
            try:
                ids.created_at_of(value if ids.is_id(prefix, value) else "")
            except ValueError:
                raise not_found(what) from None
        elif name == "kind" and not names.KIND.fullmatch(value):
            raise invalid("kind", names.KIND_HINT)
        elif name == "stream_id" and not names.EXTERNAL_ID.fullmatch(value):
            raise invalid("stream_id", names.EXTERNAL_ID_HINT)
        elif name == "consumer" and not consumer.NAME.fullmatch(value):
            raise invalid("consumer", consumer.NAME_HINT)
        elif name == "type" and not names.TYPE.fullmatch(value):
            raise invalid("type", names.TYPE_HINT)


def _admitted(declared: ApiRoute, handler: Handler, admission: Admission, path_values: Mapping[str, str]) -> Response:
    """The answer to a caller who has been let in. Raises Problem."""
    try:
        _check_path(path_values)
        asked = present()
        call = Call(engine(), admission.caller, admission.workspace_id, read_query(asked, declared.query), {})
        call.token = admission.token
        if admission.presented is not None:
            call.presented, call.confirm = admission.presented, functools.partial(by_key, declared)
        return _perform(declared, handler, call, path_values, asked)
    except Problem as problem:
        # Whoever may not call any more is told that first; but a database that is away is not waited for twice.
        if admission.presented is not None and not isinstance(problem, Unreachable):
            by_key(declared)
        raise


def _perform(
    declared: ApiRoute, handler: Handler, call: Call, path_values: Mapping[str, str], asked: Request
) -> Response:
    settings = call.engine.settings
    raw = b""
    if declared.body is not None and asked.method not in ("GET", "HEAD"):
        raw = read_bytes(asked, settings.max_event_bytes, call.caller.key_id)
        call.body = read_body(asked, declared.body, raw, settings.max_json_depth)
    if asked.method == "POST":
        call.idempotency_key = idempotency_key(asked)
    if not declared.transaction:
        return response_of(handler(call, **path_values))
    with call.engine.database.session() as session:
        call._session = session
        if call.idempotency_key is None:
            response = response_of(handler(call, **path_values))
        else:
            response = once(handler, call, path_values, raw)
    if call.due:
        call.engine.ring()  # after the commit, so that a drain sees what is due
    return response
