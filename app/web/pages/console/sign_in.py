"""Signing in and out, and the console's answer for a path that it does not have."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from flask import Blueprint, Response, request
from gevent.threadpool import ThreadPool

from app.accounts import audit, passwords, throttle, users
from app.core.problem import Problem
from app.web.pages.console import answers, forms
from app.web.pages.console.visit import ANYONE, SIGN_IN, VIEWER, Visit, page

api = Blueprint("sign_in", __name__)

# Only to our own pages: anything else could be a stranger's copy of the sign-in page.
_NEXT = re.compile(r"/console(?:[/?][\w/?&=.:@%+*~-]*)?", re.ASCII)
_WRONG = "The name or the password is wrong."
_LONGEST_NAME = 100
# Hashes are computed in real threads, so that a process's streams go on; each takes 32 MiB and a quarter of a second.
_HASHERS = 2
_MOST_WAITING = 20


@page(api, "GET", SIGN_IN, role=ANYONE, why="whoever is not signed in has to begin somewhere")
def sign_in_page(visit: Visit) -> Response:
    if visit.user is not None:
        return answers.redirect(_next(visit.args))
    return _form(visit)


@page(api, "POST", SIGN_IN, role=ANYONE, why="the password is the credential")
def sign_in(visit: Visit) -> Response:
    settings = visit.engine.settings
    forms.check_token(settings, request.cookies.get(forms.SIGN_IN_COOKIE, ""), visit.form.get(forms.FIELD, ""))
    name, password = visit.form.get("name", "").strip().lower()[:_LONGEST_NAME], visit.form.get("password", "")
    address = request.remote_addr or ""
    try:
        with visit.act() as session:
            throttle.count(session.connection(), settings.secret_key, name, address)
    except Problem as problem:
        return _form(visit, problem.status, name=name, wrong=problem.detail)
    with visit.act() as session:
        found = users.find_user(session.connection(), name)
    user, kept = found if found is not None else (None, None)
    right = _matches(password, kept)
    if user is None or not right or user.disabled_at is not None:
        with visit.act() as session:
            who = audit.Actor(name or "(no name)", None if user is None else user.id, address)
            audit.note(session.connection(), who, "session.refused")
        return _form(visit, 401, name=name, wrong=_WRONG)
    return _begin(visit, user, address)


@page(api, "POST", "/console/sign-out", role=VIEWER)
def sign_out(visit: Visit) -> Response:
    with visit.act() as session:
        users.end_session(session.connection(), visit.person.id, visit.person.session_id)
        audit.note(session.connection(), visit.actor, "session.end")
    response = answers.redirect(SIGN_IN, done="signed-out")
    forms.clear_cookie(response, forms.COOKIE)
    return response


@page(api, "GET", "/console/{path:anything}", role=VIEWER)
def no_such_page(visit: Visit, anything: str) -> Response:
    raise Problem("not_found", "There is no such page in the console.")


def _begin(visit: Visit, user: users.UserRow, address: str) -> Response:
    """A new session, in the place of the one that the browser had."""
    settings = visit.engine.settings
    with visit.act() as session:
        connection = session.connection()
        throttle.forgive(connection, settings.secret_key, user.name, address)
        if visit.user is not None:
            users.end_session(connection, visit.user.id, visit.user.session_id)
        session_id, expires_at = users.begin_session(connection, user.id)
        audit.note(connection, audit.Actor(user.name, user.id, address), "session.begin")
    response = answers.redirect(_next(visit.form))
    forms.set_cookie(response, settings, forms.COOKIE, forms.session_cookie(settings, session_id, expires_at))
    forms.clear_cookie(response, forms.SIGN_IN_COOKIE)
    return response


def _form(visit: Visit, status: int = 200, *, name: str = "", wrong: str = "") -> Response:
    settings = visit.engine.settings
    mark = request.cookies.get(forms.SIGN_IN_COOKIE) or forms.new_sign_in_mark()
    values: dict[str, Any] = visit.frame() | {"form_token": forms.token_for(settings, mark), "user": None}
    next_page = _next(visit.form or visit.args)
    response = answers.html("sign_in.html", status, **values, name=name, wrong=wrong, next=next_page)
    forms.set_cookie(response, settings, forms.SIGN_IN_COOKIE, mark)
    return response


def _next(given: Any) -> str:
    wanted = str(given.get("next", ""))
    return wanted if _NEXT.fullmatch(wanted) and "//" not in wanted else "/console"


def _matches(password: str, kept: str | None) -> bool:
    """Raises Problem unavailable when too many wait already."""
    if _hashers().task_queue.qsize() >= _MOST_WAITING:
        raise Problem("unavailable", "Too many sign in at the moment.", retry_after_seconds=5)
    return bool(_hashers().apply(passwords.matches, (password, kept)))


@cache
def _hashers() -> ThreadPool:
    """Of this process, made at its first sign-in: after the fork."""
    return ThreadPool(_HASHERS)
