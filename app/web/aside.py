"""Requests that may stay open for hours do their work beside the connection that carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from greenlet import greenlet  # type: ignore[import-untyped]  # gevent's own greenlets are made of it

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def beside(app: Wsgi, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The application's answer; to each GET from a greenlet of its own. The caller iterates it.

    A greenlet keeps the memory of the deepest call that it ever made until it ends. A live stream's ends when its
    viewer leaves, and Flask with a look at the database goes deep: some 4 KiB, which an idle connection has no use
    for. Making another greenlet takes a few microseconds. What the application raises is raised here.
    """
    if environ["REQUEST_METHOD"] != "GET":
        return app(environ, start_response)
    answer: Iterable[bytes] = greenlet(app).switch(environ, start_response)
    return answer
