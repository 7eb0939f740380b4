"""Requests that may stay open are answered in a greenlet of their own, as if they were not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from greenlet import getcurrent

from app.web.aside import beside


@pytest.mark.parametrize(("method", "apart"), [("GET", True), ("POST", False), ("HEAD", False)])
def test_only_what_may_stay_open_is_answered_beside_the_connection(method: str, apart: bool) -> None:
    here, seen = getcurrent(), []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(getcurrent())
        start_response(environ["PATH_INFO"])
        return [b"answer"]

    started: list[str] = []
    assert beside(app, {"REQUEST_METHOD": method, "PATH_INFO": "/here"}, started.append) == [b"answer"]
    assert started == ["/here"]
    assert [one is not here for one in seen] == [apart]


def test_what_the_application_raises_is_raised_to_whoever_called() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        beside(app, {"REQUEST_METHOD": "GET"}, print)
