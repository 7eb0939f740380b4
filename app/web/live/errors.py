"""Errors of contract routes, in the form that the contract's document gives them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from flask import Response

from app.core.contract import frames
from app.core.contract.model import ERROR_STATUS, Contract, ErrorForm
from app.core.problem import CODES, Problem
from app.core.wire.envelope import rfc3339
from app.web.http import problems
from app.web.http.reading import JSON

# Problem code -> case of the contract's error table.
_CASES = {
    "unauthorized": "unauthorized",
    "forbidden": "forbidden",
    "not_found": "not_found",
    "too_many": "too_many",
    "unavailable": "unavailable",
    "bad_request": "bad_request",
    "invalid": "bad_request",
    "internal": "internal",
}


class ContractRefusal(Problem):
    """A refusal that contracts may word in their own way. case: a key of ERROR_STATUS."""

    def __init__(self, case: str, detail: str) -> None:
        super().__init__("bad_request", detail)
        self.case = case


def answer(contract: Contract, problem: Problem, stream_id: str | None) -> Response:
    """A problem as this contract's answer."""
    form = _form(contract, problem)
    if contract.error_template is None:
        title = next((title for status, title in CODES.values() if status == form.status), problem.title)
        own = {"title": title, "status": form.status, "code": form.code, "detail": form.detail}
        body = problem.body(problems.trace_id()) | own
        content, kind = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), problems.CONTENT_TYPE
    else:
        values = {
            "code": form.code,
            "message": form.detail,
            "status": form.status,
            "fault": "client_error" if form.status < 500 else "server_error",
            "stream_id": stream_id,
            "trace_id": problems.trace_id(),
            "now": rfc3339(datetime.now(UTC)),
        }
        content, kind = frames.fixed_data(contract.error_template, values), JSON
    return problems.dress(Response(content, form.status, content_type=kind), problem)


def _form(contract: Contract, problem: Problem) -> ErrorForm:
    """The contract's own words for a problem, else the problem's."""
    case = problem.case if isinstance(problem, ContractRefusal) else _CASES.get(problem.code)
    if case is not None and (own := contract.errors.get(case)):
        return own
    if isinstance(problem, ContractRefusal):
        return ErrorForm(ERROR_STATUS[problem.case], problem.case, problem.detail)
    return ErrorForm(problem.status, problem.code, problem.detail)
