"""Requests made from the API's own description, and what the description says of their answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig

from app.contracts.load import load
from app.core.contract.model import ContractRoute
from app.core.event import names
from app.core.event.filters.reading import check_filter
from app.core.webhook.retry import WINDOW_SECONDS
from app.core.webhook.signing import new_secret
from tests.processes import RunningServer

Operation = Any  # schemathesis' APIOperation, which has no public name
TIMEOUT_SECONDS = 15.0
NDJSON = "application/x-ndjson"
LONGEST_URL = 8000  # gunicorn.conf.py limits the request line a little above it
# JSON Schema has no word for a text without NUL, and keys are given by the test.
CONFIG = {"generation": {"allow-x00": False, "with-security-parameters": False}}
# What a request that fits its description may be answered: done, not changed since, in conflict with something, and by
# a WebSocket's path, to whoever does not speak it.
FITTING = {200, 201, 202, 204, 304, 409}


def operations(document: dict[str, Any]) -> list[Operation]:
    """All operations of the description, in its order."""
    register_formats()
    loaded = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(CONFIG))
    return [found.ok() for found in loaded.get_all_operations()]


@schemathesis.serializer(NDJSON)
def as_lines(_context: Any, value: Any) -> bytes:
    """A body of NDJSON, which is described as text."""
    return value if isinstance(value, bytes) else str(value).encode()


def register_formats() -> None:
    """What JSON Schema's own formats leave too wide: a webhook's URL, and times that every calendar knows."""
    # Anything public; what an address in a URL may be is no matter of form.
    url = st.from_regex(r"\Ahttps?://[a-z]{1,20}\.example(?::[1-9][0-9]{0,3})?/[a-z0-9_.~/?&=%-]{0,40}\Z")
    moment = st.from_regex(
        r"\A(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-[012][1-8]T[01][0-9]:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-]0[0-9]:30)\Z"
    )
    schemathesis.openapi.format("uri", url)
    # Random bytes; others are easy to guess.
    secret = st.integers(0, 2**32).map(lambda seed: new_secret(hashlib.sha256(str(seed).encode()).digest()))
    schemathesis.openapi.format("webhook-secret", secret)
    schemathesis.openapi.format("date-time", moment)


def cases(operation: Operation, mode: GenerationMode, count: int, number: int) -> Iterator[Case]:
    """Requests for an operation, the same for the same seed `number`. None where none can be made in this mode."""
    made: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def make(case: Case) -> None:
        made.append(case)

    make()
    yield from made


# Paths under /v1 whose answers have no cursor of a list.
NO_LISTS = ("/live", "/count", "/feed", "/feed/ws", "/consumers")


class Surroundings:
    """A server with one of everything, and requests that mean something there."""

    def __init__(self, server: RunningServer, document: dict[str, Any]) -> None:
        self.server = server
        self._document = document
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # signing in is for one request
        self._contracts: dict[str, ContractRoute] = {
            route.path: route for contract in load(None).contracts for route in contract.routes
        }
        self._make: dict[str, Callable[[], str]] = {
            "endpoint_id": lambda: self._id("POST", "/v1/endpoints", {"url": "http://127.0.0.1:9/"}),
            "key_id": lambda: self._id("POST", "/v1/keys", {"name": "k", "scopes": ["publish"]}),
            "event_id": self._event,
            "delivery_id": self._delivery,
            "bulk_id": self._bulk_retry,
            "link_id": lambda: self._id("POST", "/v1/portal-links"),
            "feed_token_id": lambda: self._id("POST", "/v1/feed/tokens", {"kinds": ["call"]}),
            "type": self._event_type,
            "consumer": self._consumer,
            "workspace": lambda: self._id("POST", "/v1/workspaces", {"name": "w"}, self.server.platform_key),
        }
        self._endpoint_id = self._make["endpoint_id"]()
        for _ in range(3):
            self._event()
        self.cursors = {path: self._cursor(path) for path, methods in document["paths"].items() if "get" in methods}

    def aim(self, case: Case) -> None:
        """Have a request name things that exist, with a key that may do it."""
        path, method = case.operation.path, case.operation.method.upper()
        self._drop_dangling(case)
        if (case.path_parameters or {}).get("kind") == names.OWN_KIND:
            case.path_parameters["kind"] = "call"  # nobody opens the workspace's own streams
        for name in case.path_parameters or {}:
            if name in self._make:
                case.path_parameters[name] = self._make[name]()
        for name, value in {"name": "live.js", "page": "verify"}.items():
            if name in (case.path_parameters or {}):
                case.path_parameters[name] = value
        self._aim_values(case, path)
        contract = self._contracts.get(path)
        if contract is None and "{stream_id}" in path and method != "PUT":
            self._open(case.path_parameters["kind"], case.path_parameters["stream_id"])
        if "token_id" in (case.path_parameters or {}):
            case.path_parameters["token_id"] = self._id(
                "POST", path.format_map(case.path_parameters).rpartition("/")[0]
            )
        if contract is not None:
            where = case.path_parameters if contract.id_in == "path" else case.query
            self._open(contract.kind or case.path_parameters["kind"], where[contract.id_name])
            (case.query or {}).pop("token", None)

    def _aim_values(self, case: Case, path: str) -> None:
        """What a query or a body names, too; what no description can say of them."""
        query = case.query or {}
        bulk = path in (
            "/v1/bulk-retries",
            "/v1/bulk-retries/count",
        )  # of what was missed: at an endpoint that is there
        if path.endswith("/explain") and "endpoint_id" in query:
            query["endpoint_id"] = self._endpoint_id
        for asked in (query, case.body) if bulk else ():
            if isinstance(asked, dict) and (asked.get("status") == "missed" or "endpoint_id" in asked):
                asked["endpoint_id"] = self._endpoint_id
        if path == "/v1/deliveries" and {"outcome", "status_code"} & set(query):
            query.pop("cursor", None)  # the rows are attempts then, and so are the marks in cursors
        if path.startswith("/v1/feed"):
            for given, name in ((query, "after"), (case.headers or {}, "Last-Event-ID")):
                if isinstance(given.get(name), str) and re.fullmatch("[A-Za-z0-9_:.+-]{1,9000}", given[name]):
                    del given[name]  # a cursor that nobody has made
            query.pop("token", None)  # nobody has minted it
            body = case.body if isinstance(case.body, dict) else {}
            for name in ("start", "to", "cursor"):
                if isinstance(body.get(name), str) and re.fullmatch("[A-Za-z0-9_:.+-]{1,9000}", body[name]):
                    body[name] = "latest"
            if body.get("cursor") == "latest":
                del body["cursor"]
            for given in (query, body):
                if given.get("wait") in range(31):
                    given["wait"] = 0
        if path == "/v1/feed/tokens" and isinstance(case.body, dict) and not {"streams", "kinds"} & set(case.body):
            case.body["kinds"] = ["call"]  # one of the two has to be there
        if path.endswith("/test") and isinstance(case.body, dict) and "type" in case.body:
            case.body["type"] = self._event_type()

    def send(self, case: Case) -> requests.Response:
        """The answer's head; its body is not read yet, because a live stream's would not end."""
        sent = case.as_transport_kwargs(base_url=self.server.base_url)
        contract = self._contracts.get(case.operation.path)
        key = self.server.workspace_key
        if case.operation.path.startswith("/v1/workspaces"):
            key = self.server.platform_key
        if contract is not None and not any(way.startswith("key:") for way in contract.credentials):
            key = self._token(contract, case)
        headers = {name: value for name, value in sent.pop("headers").items() if name != "X-Workspace"}
        headers |= {"Authorization": f"Bearer {key}", "X-API-Key": self.server.workspace_key}
        sent.pop("cookies", None)
        return self._session.request(
            **sent, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUT_SECONDS
        )

    def faults(self, case: Case, answer: requests.Response, *, fits: bool) -> Iterator[str]:
        """What is wrong with an answer. fits: whether the request is as the description asks."""
        described = case.operation.definition.raw["responses"]
        found = described.get(str(answer.status_code))
        of_no_route = answer.status_code in (404, 405) and not fits  # a mutated path may lead to another route, or none
        of_no_route |= len(answer.request.url or "") > LONGEST_URL  # the server refuses it before any route
        if answer.status_code >= 500:
            yield "a server's error"
        if found is None and not of_no_route:
            yield "a status that is not described"
        elif found is not None:
            yield from self._misshapen(found.get("content", {}), answer)
        if fits and answer.status_code not in FITTING | ({426} if "101" in described else set()):
            yield "refused, although it fits"

    def _misshapen(self, content: dict[str, Any], answer: requests.Response) -> Iterator[str]:
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        if content and kind not in content and "*/*" not in content:
            yield f"the content type {kind!r}"
        elif kind == NDJSON:
            result = self._document["components"]["schemas"]["EventsOut"]["properties"]["data"]["items"]
            for line in answer.text.splitlines():
                yield from self._unfit(result, json.loads(line))
        elif kind.endswith("json"):
            yield from self._unfit(content[kind]["schema"], answer.json())

    def _unfit(self, schema: dict[str, Any], value: Any) -> Iterator[str]:
        whole = schema | {"components": self._document["components"]}
        yield from (f"its body: {error.message[:300]}" for error in Draft202012Validator(whole).iter_errors(value))

    def _drop_dangling(self, case: Case) -> None:
        """Without what OpenAPI cannot forbid: a parameter without the one it needs; and with a cursor that exists."""
        self._mend_endpoint(case.body)
        query = case.query or {}
        if isinstance(query.get("content_filter"), str) and query["content_filter"].startswith("{"):
            query["content_filter"] = '{"path":"/at_ms","gte":1}'  # JSON in a text, which no description can spell
        for _ in range(2):  # what needs another may be needed itself
            for name, needed in case.operation.definition.raw.get("x-dependent-required", {}).items():
                if name in query and any(other not in query for other in needed):
                    del query[name]
        if "stream_id" in query:
            query.pop("cursor", None)  # of another list
        if "cursor" in query:
            cursor = self.cursors.get(case.operation.path)
            query.update({"cursor": cursor} if cursor else {})
            if not cursor:
                del query["cursor"]

    def _mend_endpoint(self, body: Any) -> None:
        """Without a filter whose inner filters are none, and a schedule that goes past the window."""
        if isinstance(body, dict):
            if body.get("content_filter") is not None and check_filter(body["content_filter"]):
                del body["content_filter"]
            if sum(body.get("retry_delays_seconds") or []) > WINDOW_SECONDS:
                del body["retry_delays_seconds"]

    def _token(self, contract: ContractRoute, case: Case) -> str:
        where = case.path_parameters if contract.id_in == "path" else case.query
        kind, id = contract.kind, (where or {}).get(contract.id_name)
        minted = self._ask("POST", f"/v1/streams/{kind}/{id}/tokens", {})
        return str(minted.json()["token"]) if minted.status_code == 201 else "no.token.at_all"

    def _open(self, kind: str, id: str) -> None:
        assert self._ask("PUT", f"/v1/streams/{kind}/{id}", {}).status_code in (200, 201), (kind, id)

    def _event(self) -> str:
        event = {"stream": {"kind": "call", "id": "described"}, "type": "call.turn", "data": {}}
        return self._id("POST", "/v1/events", event)

    def _event_type(self) -> str:
        assert self._ask("PUT", "/v1/event-types/described", {"example": {}}).ok
        return "described"

    def _consumer(self) -> str:
        assert self._ask("PUT", "/v1/feed/consumers/described", {}).ok
        return "described"

    def _bulk_retry(self) -> str:
        for order in self._ask("GET", "/v1/bulk-retries").json()["data"]:
            if order["status"] == "running":  # there may be ten
                self._ask("POST", f"/v1/bulk-retries/{order['id']}/cancel")
        return self._id("POST", "/v1/bulk-retries")

    def _delivery(self) -> str:
        self._event()
        found = self._ask("GET", f"/v1/deliveries?limit=1&endpoint_id={self._endpoint_id}").json()["data"]
        return str(found[0]["id"])

    def _cursor(self, path: str) -> str | None:
        """The cursor behind the first row of a list; a list whose path names something is none of these."""
        if "{" in path or not path.startswith("/v1/") or path.endswith(NO_LISTS):
            return None
        key = self.server.platform_key if path == "/v1/workspaces" else self.server.workspace_key
        if path == "/v1/workspaces":
            self._make["workspace"]()
        if path == "/v1/keys":
            self._make["key_id"]()
        if path == "/v1/endpoints":
            self._make["endpoint_id"]()
        if path == "/v1/streams":
            self._open("call", "another")
        if path in ("/v1/bulk-retries", "/v1/portal-links", "/v1/feed/tokens"):
            for _ in range(2):
                self._ask("POST", path, {"kinds": ["call"]} if path == "/v1/feed/tokens" else {}, key=key)
        found = self._ask("GET", f"{path}?limit=1", key=key).json()["next_cursor"]
        assert found, path
        return str(found)

    def _id(self, method: str, path: str, body: Any = None, key: str | None = None) -> str:
        answer = self._ask(method, path, {} if body is None else body, key)
        assert answer.status_code < 300, answer.text
        return str(answer.json()["id"])

    def _ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {key or self.server.workspace_key}"}
        url = f"{self.server.base_url}{urlsplit(path).path}"
        query = urlsplit(path).query
        return self._session.request(method, url, params=query, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
