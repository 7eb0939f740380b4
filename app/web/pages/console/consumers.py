"""Consumers of a customer's feed: how far each is, moving one to another place, forgetting one."""

from __future__ import annotations

from flask import Blueprint, Response

from app.core.feed import consumer as rules
from app.core.problem import invalid, not_found
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
    with visit.read() as connection:
        row = find_customer(connection, workspace_id)
    found = consumer_rows.read_page(visit.engine, row.id, visit.args.get("after"))
    return visit.show("consumers.html", row=row, found=found)


@page(api, "POST", f"{_LIST}/{{consumer}}/seek", role=OPERATOR)
def seek(visit: Visit, workspace_id: str, consumer: str) -> Response:
    """Move it; whoever reads it now has lost the lease."""
    _check_name(consumer)
    with visit.act() as session:
        consumers.find(session.connection(), workspace_id, consumer)
    to = _place(visit.form.get("to", ""))
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


def _place(text: str) -> str:
    """Where a form moves a consumer to, as the API takes it. Raises Problem invalid."""
    if text.strip() in _ENDS:
        return text.strip()
    found = queries.moment(text.strip())
    if found is None:
        raise invalid("to", "write a time such as 2026-11-20T10:00 (UTC), 24h for a day ago, earliest or latest")
    return rfc3339(found)
