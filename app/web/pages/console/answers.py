"""What a page answers: HTML, a redirect, or an error page for people; each with the headers that keep it ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Response, render_template

from app.core.problem import Problem
from app.web.http.problems import dress, trace_id

HTML = "text/html; charset=utf-8"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
_NOBODY = "'none'"
# code -> what the person may do next, where the problem's own words are for programs.
_WORDS = {
    "unauthorized": "You are not signed in, or your session has ended.",
    "unavailable": "The database did not answer in time. Nothing was changed; try again in a moment.",
    "internal": "Something broke on our side. The reference below finds it in the log.",
}


def html(template: str, status: int = 200, *, folder: str = "console", **values: Any) -> Response:
    """A page. folder: of templates/. values: what the template shows."""
    return Response(render_template(f"{folder}/{template}", **values), status, content_type=HTML)


def redirect(path: str, **query: str | None) -> Response:
    """To another of our pages, to be read anew (RFC 9110 section 15.4.4)."""
    given = {name: value for name, value in query.items() if value}
    return Response(status=303, headers={"Location": f"{path}?{urlencode(given)}" if given else path})


def error_page(problem: Problem, *, folder: str = "console", **values: Any) -> Response:
    """A refusal for people. values: what the frame around it shows."""
    said = _WORDS.get(problem.code, problem.detail)
    page = html("error.html", problem.status, folder=folder, problem=problem, said=said, trace_id=trace_id(), **values)
    return dress(page, problem)


def secure(response: Response, framed_by: Sequence[str] = ()) -> Response:
    """Put on the headers of every page: who may run scripts in it, show it, or be told its address.

    framed_by: origins whose pages may show it in a frame.
    """
    response.headers["Content-Security-Policy"] = f"{POLICY}; frame-ancestors {' '.join(framed_by) or _NOBODY}"
    # Not no-referrer: with that, browsers send our own forms with `Origin: null` (Fetch standard, section 3.2).
    response.headers["Referrer-Policy"] = "same-origin"
    if not framed_by:  # it can name no other origin; browsers that know frame-ancestors do not ask for it
        response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    response.headers.pop("WWW-Authenticate", None)  # a browser would ask for a key in a window of its own
    return response
