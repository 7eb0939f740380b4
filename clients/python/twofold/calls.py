"""One call of the HTTP API: repeated where that is safe, its refusal raised."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote

import requests

from .batches import is_for_now, problem, retry_after_seconds
from .stream import pause_seconds

TRIES = 4
FIRST_WAIT_SECONDS = 0.25
TIMEOUTS = (5.0, 30.0)  # to connect; for the answer
LONGEST_ASKED_SECONDS = 30.0  # a server that asks for more is not waited for: its refusal is raised

# What an answer looks like that did not come, or not whole.
CUT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.JSONDecodeError,
)


class Refused(Exception):
    """The server said no. status: of its answer; code: what to match on; detail: what to do; problem: all of it.

    retry_after_seconds: what its Retry-After asks for, 0 without one.
    """

    def __init__(self, status: int, told: Mapping[str, Any], retry_after_seconds: float = 0.0) -> None:
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.problem = dict(told)
        self.code = str(told.get("code", ""))
        self.detail = str(told.get("detail", ""))
        super().__init__(f"{status} {self.code}: {self.detail}")


class Api:
    """The way to one server with one key. Belongs to one thread at a time, as its session does."""

    def __init__(self, base_url: str, key: str, workspace: str | None, session: requests.Session | None) -> None:
        self.base_url = base_url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"}
        if workspace is not None:
            self.headers["X-Workspace"] = workspace
        self._session = session or requests.Session()
        self._owns_session = session is None

    def close(self) -> None:
        """Close the session's connections, unless the session is the caller's."""
        if self._owns_session:
            self._session.close()

    def ask(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """As `call`. query: parameters by the names that the API gives them."""
        return self.call(method, path, body, query)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
        *,
        idempotency_key: str | None = None,
        waits_seconds: float = 0.0,
    ) -> Any:
        """The parsed answer, None for an empty one. Parameters that are None are left out.

        A POST takes an idempotency key along, so everything may be repeated: what fails on the way, or is answered
        408, 425, 429 or 5xx, is tried TRIES times. waits_seconds: how long the server was asked to wait before it
        answers. Raises Refused, and the last requests.RequestException.
        """
        headers = dict(self.headers)
        if method == "POST":
            headers["Idempotency-Key"] = idempotency_key or uuid.uuid4().hex
        timeouts = (TIMEOUTS[0], TIMEOUTS[1] + waits_seconds)
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        for failures in range(1, TRIES + 1):
            asked_seconds = 0.0
            try:
                answer = self._session.request(
                    method, self.base_url + path, json=body, params=given, headers=headers, timeout=timeouts
                )
                if answer.ok:
                    return answer.json() if answer.content else None
            except CUT:
                if failures == TRIES:
                    raise
            else:
                asked_seconds = retry_after_seconds(answer.headers.get("Retry-After"))
                if failures == TRIES or not is_for_now(answer.status_code) or asked_seconds > LONGEST_ASKED_SECONDS:
                    raise Refused(answer.status_code, problem(answer.content), asked_seconds)
            time.sleep(pause_seconds(FIRST_WAIT_SECONDS, failures, asked_seconds, random.random()))
        raise AssertionError("the last try returns or raises")

    def pages(self, path: str, **query: object) -> Iterator[Any]:
        """The entries of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.ask("GET", path, **query, cursor=cursor)
            yield from page["data"]
            cursor = cast("str | None", page["next_cursor"])
            if cursor is None:
                return


def given(**members: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def path(*parts: str) -> str:
    """parts: the first as it is, the others as one segment each."""
    return "/".join([parts[0], *(quote(part, safe="") for part in parts[1:])])
