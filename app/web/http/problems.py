"""Every error as application/problem+json (RFC 9457) with a trace id, which is also in X-Request-Id and in our log."""

from __future__ import annotations

import json
import logging
import os
import re

from flask import Flask, Response, request
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from app.core.masking import mask
from app.core.problem import Problem, first_line
from app.database import faults
from app.database.batching import Abandoned
from app.database.calls import Unanswered
from app.log_lines import PROBLEM_CODE, TRACE_ID, members

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
_ALWAYS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))  # unless the handler says otherwise
# A caller's own id is used only in this form, because it appears in our log and answers.
_TRACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What people type; a program's paths are as they are described.
_PAGE_WITH_SLASH = re.compile(r"/(?:docs|console|portal)(?:/[A-Za-z0-9_-]+)*/")
_BY_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
}


def trace_id() -> str:
    """The id of this request: the caller's X-Request-Id when it has a proper form, else a new one."""
    environ = request.environ
    known: str | None = environ.get(TRACE_ID)
    if known is None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        known = environ[TRACE_ID] = given if _TRACE.fullmatch(given) else os.urandom(16).hex()
    return known


def answer(problem: Problem) -> Response:
    """A problem as a response."""
    body = json.dumps(problem.body(trace_id()), ensure_ascii=False).encode("utf-8", "replace")
    return dress(Response(body, problem.status, content_type=CONTENT_TYPE), problem)


def dress(response: Response, problem: Problem) -> Response:
    """The headers that go with an error, whatever form its body has. The access log names its code."""
    request.environ[PROBLEM_CODE] = problem.code
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="twofold"'
    if response.status_code == 426:  # RFC 9110 section 15.5.22 and RFC 6455 section 4.4: what is spoken here instead
        response.headers["Connection"] = "Upgrade"
        response.headers["Upgrade"] = "websocket"
        response.headers["Sec-WebSocket-Version"] = "13"
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
    return response


def install(app: Flask) -> None:
    """Answer every error of the app as a problem, and give every answer its trace id."""
    app.register_error_handler(Problem, answer)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_surprise)
    app.after_request(_stamp)
    app.before_request(_refuse_doubled_slash)


def _from_http(error: HTTPException) -> Response:
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = answer(Problem("method_not_allowed", f"This path takes {allowed}, not {request.method}."))
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, NotFound):
        path, query = request.environ["PATH_INFO"], request.environ["QUERY_STRING"]  # a request's path loses slashes
        if _PAGE_WITH_SLASH.fullmatch(path) and request.method in ("GET", "HEAD"):
            return Response(status=308, headers={"Location": f"{path[:-1]}?{query}" if query else path[:-1]})
        return answer(Problem("not_found", "There is no such path; /docs lists them all."))
    if isinstance(error, RequestEntityTooLarge):
        return answer(Problem("too_large", "The body is too large; send less at once."))
    if error.code is not None and error.code < 400:  # a redirect
        return Response(error.get_body(), error.code, dict(error.get_headers()))
    return answer(Problem(_BY_STATUS.get(error.code or 500, "bad_request"), error.description or "See /docs."))


def _from_surprise(error: Exception) -> Response:
    return answer(problem_of(error))


def problem_of(error: Exception) -> Problem:
    """The answer to what the database says, or to anything unexpected: the caller gets the trace id, our log the rest.

    The path is logged without its query, which may hold a stream token.
    """
    what = f"{request.method} {mask(repr(request.path))} trace_id={trace_id()}"
    if isinstance(error, DBAPIError) and faults.is_requests_fault(error):
        return _from_refusal(error, what)
    if isinstance(error, DBAPIError | PoolTimeout | Abandoned | Unanswered):
        # A statement that this database cannot run at all is a mistake of ours, or of a release that is half done.
        mistaken = isinstance(error, ProgrammingError)
        level = logging.ERROR if mistaken else logging.WARNING
        log.log(level, "unavailable: %s: %s", what, first_line(error), extra=members(trace_id=trace_id()))
        return Problem("unavailable", "The database cannot be reached; try again shortly.", retry_after_seconds=1)
    log.error("unexpected: %s", what, exc_info=error, extra=members(trace_id=trace_id()))
    return Problem("internal", "Something broke on our side; it is logged under this trace_id.")


def _from_refusal(error: DBAPIError, what: str) -> Problem:
    """The answer to what the database refuses for what it says."""
    if isinstance(error, IntegrityError):  # another change came first: the workspace was deleted, for example
        log.warning("conflict: %s", what, extra=members(trace_id=trace_id()))
        return Problem("conflict", "Something that this request depends on has changed; read it again, then repeat.")
    log.error("refused by the database: %s: %s", what, first_line(error), extra=members(trace_id=trace_id()))
    return Problem("bad_request", "A value in this request cannot be stored; our log says which, under this trace_id.")


def _refuse_doubled_slash() -> None:
    """`//metrics` is another path than `/metrics`; werkzeug drops leading slashes before it looks, and a proxy's rules
    for `/metrics` would not cover it."""
    if request.environ.get("PATH_INFO", "").startswith("//"):
        raise NotFound


def _stamp(response: Response) -> Response:
    headers = response.headers
    said = {name.lower() for name, _ in headers}
    for name, value in (("X-Request-Id", trace_id()), *_ALWAYS):
        if name.lower() not in said:
            headers.add(name, value)
    return response
