"""What gunicorn refuses before the application sees it, as application/problem+json instead of gunicorn's HTML."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import gunicorn.util

from app.core.problem import CODES, Problem
from app.log_lines import members

log = logging.getLogger(__name__)

_CONTENT_TYPE = "application/problem+json"
_BY_STATUS = {400: "bad_request", 431: "headers_too_large", 500: "internal", 501: "bad_request", 403: "forbidden"}


def install() -> None:
    """Have this process's gunicorn worker answer in our form."""
    gunicorn.util.write_error = write_error


def write_error(sock: Any, status: int, reason: str, detail: str) -> None:
    """gunicorn.util.write_error in our form: the same arguments, and the connection is closed afterwards as well."""
    code = _BY_STATUS.get(status, "bad_request")
    problem = Problem(code, detail or CODES[code][1])
    trace_id = uuid.uuid4().hex
    known = members(trace_id=trace_id, code=code, status=status)
    log.warning("refused before it could be served: %d %s trace_id=%s", status, code, trace_id, extra=known)
    body = json.dumps(problem.body(trace_id) | {"status": status}, ensure_ascii=False).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {_CONTENT_TYPE}\r\n"
        f"X-Request-Id: {trace_id}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    gunicorn.util.write_nonblock(sock, head.encode("latin-1") + body)
