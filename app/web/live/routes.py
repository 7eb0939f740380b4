"""The routes that contracts declare, each served by what it does: SSE, WebSocket or minting a token."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from app.core.contract.model import Contract, ContractRoute, Rules
from app.core.problem import Problem
from app.web.engine import engine
from app.web.http import call, problems, routes
from app.web.http.origins import allow_other_origins
from app.web.live import description, errors
from app.web.live.mint import mint
from app.web.live.sse import Unanswered, serve_sse
from app.web.live.websocket import serve_websocket


def blueprint(rules: Rules) -> Blueprint:
    """All routes of all contracts."""
    made = Blueprint("contracts", __name__)
    made.after_request(allow_other_origins)
    for declared in rules.contracts:
        for route in declared.routes:
            serve = {"sse": serve_sse, "websocket": serve_websocket, "mint": mint}[route.does]
            _add(made, declared, route, serve)
    return made


def _add(
    made: Blueprint,
    declared: Contract,
    route: ContractRoute,
    serve: Callable[[Contract, ContractRoute, str, str], Response],
) -> None:
    def view(**values: str) -> Response:
        stream_id = values.get(route.id_name) if route.id_in == "path" else request.args.get(route.id_name)
        if route.does != "mint" and engine().hub.stopping:
            return Unanswered()
        try:
            return serve(declared, route, route.kind or values["kind"], stream_id or "")
        except Exception as error:  # every error is answered in the contract's form
            problem = error if isinstance(error, Problem) else problems.problem_of(error)
            return errors.answer(declared, problem, stream_id)

    # With a character that no name may hold: shop and order_live would otherwise be the same as shop_order and live.
    view.__name__ = f"{declared.name}-{route.name}"
    summary = f"{declared.about} ({declared.name}: {route.name})"
    described = description.operation(declared, route)
    own = tuple(form.code for form in declared.errors.values()) if declared.error_template is None else ()
    shown = call.ApiRoute(route.method, route.path, "subscribe", summary, refusals=own, operation=described)
    routes.declare_view(made, shown, view, websocket=route.does == "websocket")
