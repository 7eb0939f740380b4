"""How a page of the portal is declared, and what its handler is given.

    @portal_page(api, "GET", "/portal/deliveries", scope=OPERATE)
    def deliveries(visit: PortalVisit) -> Response: …

The declaration says what the link must allow; the guard does it, in this order: session (401), origin and form token of
a POST (403), scope (404, as if there were no such page), then the handler, whose problems become error pages.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from flask import Blueprint, Flask, Response, request
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.accounts import audit, portal
from app.accounts.portal import Guest
from app.core.problem import Problem
from app.web.engine import Engine, engine
from app.web.http.problems import problem_of
from app.web.live.view import while_there
from app.web.pages.console import answers, forms, words
from app.web.pages.portal import cookie

FOLDER = "portal"  # of templates/
HOME = "/portal"
_PAGES = "twofold.portal"
_LONGEST_QUERY_VALUE = 500  # a filter's text; what is longer names nothing that we have


@dataclass(frozen=True, slots=True)
class PortalRule:
    """A declared page. scope: what the link must allow, "" for nothing in particular. why: the reason for a page that
    anyone may see. most_bytes: of a form."""

    method: str
    path: str
    scope: str
    why: str = ""
    most_bytes: int = forms.MOST_BYTES


@dataclass(slots=True)
class PortalVisit:
    """One request for a page. visitor: who is in the portal; of a page for anyone maybe nobody."""

    engine: Engine
    visitor: Guest | None
    args: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def guest(self) -> Guest:
        """Who is in the portal, on a page that is not for anyone."""
        if self.visitor is None:
            raise RuntimeError("this page was declared for anyone")
        return self.visitor

    @property
    def workspace_id(self) -> str:
        """Whose portal it is."""
        return self.guest.workspace_id

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A short transaction that cannot write, on the portal's own connections."""
        with self.engine.guests.begin() as connection:
            yield connection

    @contextmanager
    def act(self) -> Iterator[Session]:
        """A transaction that may write, for what a customer does."""
        with self.engine.database.session() as session:
            yield session

    def note(self, session: Session, action: str, target: str, **details: Any) -> None:
        """Write into the audit log, in the same transaction, what the customer does."""
        who = audit.Actor(f"portal {self.guest.link_id}", None, request.remote_addr)
        audit.note(session.connection(), who, action, target=target, workspace_id=self.workspace_id, **details)

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page within the portal's frame."""
        return answers.html(template, status, folder=FOLDER, **self.frame(), **values)

    def frame(self) -> dict[str, Any]:
        """What the frame of each page needs."""
        settings, guest = self.engine.settings, self.visitor
        done = self.args.get("done", "")
        return {
            "name": settings.portal_name,
            "guest": guest,
            "form_token": "" if guest is None else forms.token_for(settings, guest.session_id),
            "path": request.path,
            "done_words": words.done(done),
        }


PortalHandler = Callable[..., Response]


def portal_page(
    blueprint: Blueprint, method: str, path: str, *, scope: str = "", why: str = "", most_bytes: int = forms.MOST_BYTES
) -> Callable[[PortalHandler], PortalHandler]:
    """Declare a page. scope: of portal.SCOPES, "" for whatever the link allows. why: makes it a page for anyone."""
    if scope not in ("", *portal.SCOPES):
        raise ValueError(f"no link allows {scope}")
    rule = PortalRule(method, path, scope, why, most_bytes)

    def declare(handler: PortalHandler) -> PortalHandler:
        name = handler.__name__

        @functools.wraps(handler)
        def view(**path_values: str) -> Response:
            response = _perform(rule, handler, path_values)
            return answers.secure(response, engine().settings.portal_frame_origins)

        blueprint.add_url_rule(re.sub(r"\{([\w:]+)\}", r"<\1>", path), name, view, methods=[method])
        blueprint.record(
            lambda state: portal_pages_of(cast(Flask, state.app)).__setitem__(f"{blueprint.name}.{name}", rule)
        )
        return handler

    return declare


def portal_pages_of(app: Flask) -> dict[str, PortalRule]:
    """The declared pages by Flask endpoint name."""
    return cast(dict[str, PortalRule], app.extensions.setdefault(_PAGES, {}))


def _perform(rule: PortalRule, handler: PortalHandler, path_values: Mapping[str, str]) -> Response:
    args = {name: value[:_LONGEST_QUERY_VALUE].replace("\0", "") for name, value in request.args.items()}
    visit = PortalVisit(engine(), None, args)
    try:
        visit.visitor = _guest(visit.engine)
        if visit.visitor is None and not rule.why:
            raise Problem("unauthorized", "The portal opens by a link, which your provider makes for you.")
        if rule.method == "POST":
            _read_form(rule, visit)
        if not rule.why and not visit.guest.may(rule.scope):
            raise Problem("not_found", "There is no such page.")
        return handler(visit, **path_values)
    except Problem as problem:
        return _refusal(visit, problem)
    except Exception as error:
        return _refusal(visit, problem_of(error))


def _read_form(rule: PortalRule, visit: PortalVisit) -> None:
    visit.form = forms.read_form(request, rule.most_bytes)
    forms.check_origin(visit.engine.settings, request)
    if not rule.why:
        forms.check_token(visit.engine.settings, visit.guest.session_id, visit.form.get(forms.FIELD, ""))


def _refusal(visit: PortalVisit, problem: Problem) -> Response:
    return answers.error_page(problem, folder=FOLDER, **visit.frame())


def still_signed_in(visit: PortalVisit) -> Callable[[], bool]:
    """Tells whether the customer's session goes on, for whoever watches; keeps nothing else of the visit."""
    return while_there(visit.engine.guests, portal.read_session, visit.guest.session_id)


def _guest(current: Engine) -> Guest | None:
    session_id = cookie.session_id_of(current.settings, request)
    if session_id is None:
        return None
    with current.guests.begin() as connection:
        return portal.read_session(connection, session_id)
