"""How a page is declared, and what its handler is given.

    @page(api, "GET", "/console/deliveries", role=VIEWER)
    def deliveries(visit: Visit) -> Response: …

The declaration says who may see the page; the guard does it, in this order: session (to the sign-in page), role (403),
origin and form token of a POST (403), then the handler, whose problems become error pages.
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

from app.accounts import audit, users
from app.accounts.users import SignedInUser
from app.core.problem import Problem
from app.web.engine import Engine, engine
from app.web.http.problems import problem_of
from app.web.live.view import while_there
from app.web.pages.console import answers, forms, words

ANYONE, VIEWER, OPERATOR = "anyone", users.VIEWER, users.OPERATOR
SIGN_IN = "/console/sign-in"
_PAGES = "twofold.pages"
_LONGEST_QUERY_VALUE = 500  # a filter's text; what is longer names nothing that we have


@dataclass(frozen=True, slots=True)
class PageRule:
    """A declared page. role: who may see it. why: the reason for a page that anyone may see. most_bytes: of a form."""

    method: str
    path: str
    role: str
    why: str = ""
    most_bytes: int = forms.MOST_BYTES


@dataclass(slots=True)
class Visit:
    """One request for a page. user: who is signed in; of a page for ANYONE maybe nobody."""

    engine: Engine
    user: SignedInUser | None
    args: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def person(self) -> SignedInUser:
        """Who is signed in, on a page that is not for ANYONE."""
        if self.user is None:
            raise RuntimeError("this page was declared for anyone")
        return self.user

    @property
    def actor(self) -> audit.Actor:
        """The person, for the audit log."""
        return audit.Actor(self.person.name, self.person.id, request.remote_addr)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A short transaction that cannot write, on the pages' own connections."""
        with self.engine.pages.begin() as connection:
            yield connection

    @contextmanager
    def act(self) -> Iterator[Session]:
        """A transaction that may write, for what an operator does."""
        with self.engine.database.session() as session:
            yield session

    def note(self, session: Session, action: str, target: str, workspace_id: str, **details: Any) -> None:
        """Write into the audit log, in the same transaction, what the person does."""
        values = {"target": target, "workspace_id": workspace_id, **details}
        audit.note(session.connection(), self.actor, action, **values)

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page within the console's frame."""
        return answers.html(template, status, **self.frame(), **values)

    def frame(self) -> dict[str, Any]:
        """What the frame of each page needs."""
        token = "" if self.user is None else forms.token_for(self.engine.settings, self.user.session_id)
        return {"user": self.user, "form_token": token, "path": request.path, **_done(self.args)}


PageHandler = Callable[..., Response]


def page(
    blueprint: Blueprint, method: str, path: str, *, role: str, why: str = "", most_bytes: int = forms.MOST_BYTES
) -> Callable[[PageHandler], PageHandler]:
    """Declare a page. role: ANYONE (saying why), VIEWER (operators, too) or OPERATOR. A GET changes nothing."""
    rule = PageRule(method, path, role, why, most_bytes)

    def declare(handler: PageHandler) -> PageHandler:
        name = handler.__name__

        @functools.wraps(handler)
        def view(**path_values: str) -> Response:
            return answers.secure(_perform(rule, handler, path_values))

        blueprint.add_url_rule(re.sub(r"\{([\w:]+)\}", r"<\1>", path), name, view, methods=[method])
        blueprint.record(lambda state: pages_of(cast(Flask, state.app)).__setitem__(f"{blueprint.name}.{name}", rule))
        return handler

    return declare


def pages_of(app: Flask) -> dict[str, PageRule]:
    """The declared pages by Flask endpoint name."""
    return cast(dict[str, PageRule], app.extensions.setdefault(_PAGES, {}))


def _perform(rule: PageRule, handler: PageHandler, path_values: Mapping[str, str]) -> Response:
    args = {name: value[:_LONGEST_QUERY_VALUE].replace("\0", "") for name, value in request.args.items()}
    visit = Visit(engine(), None, args)
    try:
        visit.user = _signed_in(visit.engine)
        if refusal := _refused(rule, visit):
            return refusal
        if rule.method == "POST":
            visit.form = forms.read_form(request, rule.most_bytes)
            forms.check_origin(visit.engine.settings, request)
            if visit.user is not None and rule.role != ANYONE:
                token = visit.form.get(forms.FIELD, "")
                forms.check_token(visit.engine.settings, visit.user.session_id, token)
        return handler(visit, **path_values)
    except Problem as problem:
        return answers.error_page(problem, **visit.frame())
    except Exception as error:
        return answers.error_page(problem_of(error), **visit.frame())


def _done(args: Mapping[str, str]) -> dict[str, str]:
    word = args.get("done", "")
    return {"done": word, "done_words": words.done(word)}


def still_signed_in(visit: Visit) -> Callable[[], bool]:
    """Tells whether the person's session goes on, for whoever watches; keeps nothing else of the visit."""
    return while_there(visit.engine.pages, users.read_session, visit.person.session_id)


def _signed_in(current: Engine) -> SignedInUser | None:
    session_id = forms.session_id_of(current.settings, request)
    if session_id is None:
        return None
    with current.pages.begin() as connection:
        return users.read_session(connection, session_id)


def _refused(rule: PageRule, visit: Visit) -> Response | None:
    """The way to the sign-in page, or the refusal of the person's role; None for who may go on."""
    if rule.role == ANYONE:
        return None
    if visit.user is None:
        if rule.method == "POST":
            raise Problem("unauthorized", "Sign in first.")
        return answers.redirect(SIGN_IN, next=request.full_path.rstrip("?") if request.path != "/console" else None)
    if rule.role == OPERATOR and not visit.user.may_act:
        raise Problem("forbidden", "Your role is viewer: it sees everything and changes nothing. Ask an operator.")
    return None
