"""Consumers of a customer's feed: how far each is, moving one to another place, forgetting one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from app.core.feed import consumer as rules
from app.core.problem import not_found
from app.core.wire.envelope import rfc3339
from app.live.feed import consumers
from app.web.api.feed import start_of
from app.web.pages import consumer_rows
from app.web.pages.console import answers, queries
from app.web.pages.console.feed import HOME, find_customer
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("console_consumers", __name__)

_LIST = f"{HOME}/{{workspace_id}}/consumers"
_ENDS = ("earliest", "latest")


@page(api, "GET", _LIST, role=VIEWER)
def consumer_list(visit: Visit, workspace_id: str) -> Response:
    return _show(visit, workspace_id)


@page(api, "POST", f"{_LIST}/{{consumer}}/seek", role=OPERATOR)
def seek(visit: Visit, workspace_id: str, consumer: str) -> Response:
    """Move it; whoever reads it now has lost the lease."""
    _check_name(consumer)
    with visit.act() as session:
        consumers.find(session.connection(), workspace_id, consumer)
    typed = visit.form.get("to", "").strip()
    to = _place(typed)
    if to is None:
        wrong = f"“{typed[:40]}” is not a place. Write a time such as 2026-11-20T10:00 (UTC), 24h, earliest or latest."
        return _show(visit, workspace_id, 422, wrong=wrong, typed={consumer: typed})
    place = start_of(visit.engine.feed, to, "to")  # before the row is locked
    with visit.act() as session:
        consumers.seek(session.connection(), workspace_id, consumer, place)
        visit.note(session, "consumer.seek", consumer, workspace_id, to=to)
    return answers.redirect(f"{HOME}/{workspace_id}/consumers", done="consumer-moved")


@page(api, "POST", f"{_LIST}/{{consumer}}/delete", role=OPERATOR)
def delete_consumer(visit: Visit, workspace_id: str, consumer: str) -> Response:
    _check_name(consumer)
    with visit.act() as session:
        consumers.delete(session.connection(), workspace_id, consumer)
        visit.note(session, "consumer.delete", consumer, workspace_id)
    return answers.redirect(f"{HOME}/{workspace_id}/consumers", done="consumer-deleted")


def _check_name(name: str) -> None:
    """Raises Problem not_found for what no consumer can be called."""
    if not rules.NAME.fullmatch(name):
        raise not_found("consumer")


def _show(visit: Visit, workspace_id: str, status: int = 200, **more: Any) -> Response:
    """The list. more: what is wrong with a form of it, and what was typed there."""
    with visit.read() as connection:
        row = find_customer(connection, workspace_id)
    found = consumer_rows.read_page(visit.engine, row.id, visit.args.get("after"))
    return visit.show("consumers.html", status, row=row, found=found, **more)


def _place(text: str) -> str | None:
    """Where a form moves a consumer to, as the API takes it; None for what is no place."""
    if text in _ENDS:
        return text
    found = queries.moment(text)
    return None if found is None else rfc3339(found)
