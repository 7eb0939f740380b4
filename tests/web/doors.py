"""A caller of the API for tests: Flask's test client with a key, whose every answer is held to /openapi.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from app.core.event.acceptance import Accepted
from app.core.event.drafts import read_event
from app.ledger.ledger import Submission
from app.web.docs import openapi
from app.web.engine import engine_of
from app.web.http.call import ApiRoute
from app.web.http.routes import routes_of

# Without these a WebSocket route says only that it speaks another protocol; other routes do not look at them.
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
EVERY_SCOPE = ["publish", "subscribe", "manage", "operate"]


@dataclass
class Door:
    """One key's way in. workspace_id: what the key belongs to, or (platform) names in X-Workspace; '' for none."""

    app: Flask
    key: str
    workspace_id: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def ask(self, method: str, path: str, json: Any = None, **options: Any) -> TestResponse:
        """The answer, whatever its status; checked against its documentation."""
        headers = {"Authorization": f"Bearer {self.key}", **self.headers, **options.pop("headers", {})}
        response = self.client.open(path, method=method, json=json, headers=headers, **options)
        check_documented(self.app, method, response)
        return response

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        return self._expect(self.ask("GET", path, **options), status)

    def post(self, path: str, json: Any = None, status: int = 201, **options: Any) -> Any:
        return self._expect(self.ask("POST", path, json, **options), status)

    def put(self, path: str, json: Any = None, status: int = 201, **options: Any) -> Any:
        return self._expect(self.ask("PUT", path, json, **options), status)

    def patch(self, path: str, json: Any = None, status: int = 200, **options: Any) -> Any:
        return self._expect(self.ask("PATCH", path, json, **options), status)

    def delete(self, path: str, status: int = 204, **options: Any) -> Any:
        return self._expect(self.ask("DELETE", path, **options), status)

    def pages(self, path: str) -> list[Any]:
        """All rows of a list, page by page. path: with a query."""
        rows: list[Any] = []
        cursor = ""
        for _ in range(100):
            page = self.get(f"{path}{cursor}")
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            cursor = f"&cursor={page['next_cursor']}"
        raise AssertionError("the list does not end")

    def publish(self, kind: str, stream_id: str, type: str, data: str = "{}") -> str:
        """Commit one event through the ledger; its id. data: JSON text, kept as it is spelled."""
        raw = f'{{"stream":{{"kind":"{kind}","id":"{stream_id}"}},"type":"{type}","data":{data}}}'
        submission = Submission(self.workspace_id, [read_event(raw.encode(), 2**18, 64)])
        (outcome,) = engine_of(self.app).ledger.accept(submission)
        assert isinstance(outcome, Accepted), outcome
        return outcome.id

    @staticmethod
    def _expect(response: TestResponse, status: int) -> Any:
        assert response.status_code == status, response.get_data(as_text=True)
        return response.get_json() if response.data else None


def handshake(app: Flask, declared: ApiRoute) -> dict[str, str]:
    """The headers that make a request what this route speaks."""
    contracts = engine_of(app).rules.contracts
    spoken = {(route.path, route.does) for contract in contracts for route in contract.routes}
    return HANDSHAKE if declared.websocket or (declared.path, "websocket") in spoken else {}


class Described:
    """What the API's description says of one route. Made once for each, as many tests ask for the same ones."""

    _made: ClassVar[dict[str, Described]] = {}

    def __init__(self, name: str, declared: ApiRoute) -> None:
        self.declared = declared
        description = openapi.document({name: declared}, "http://localhost")
        self.responses = openapi.operation_of(description, declared.path, declared.method)["responses"]
        self._components = description["components"]
        self._validators: dict[tuple[int, str], Draft202012Validator] = {}

    @classmethod
    def of(cls, name: str, declared: ApiRoute) -> Described:
        """The one of a route, whose declaration may be another in another application."""
        found = cls._made.get(name)
        if found is None or found.declared != declared:
            found = cls._made[name] = cls(name, declared)
        return found

    def validator(self, status: int, content_type: str) -> Draft202012Validator:
        """Holds an answer to its schema."""
        found = self._validators.get((status, content_type))
        if found is None:
            schema = self.responses[str(status)]["content"][content_type]["schema"] | {"components": self._components}
            found = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
            self._validators[status, content_type] = found
        return found


def check_documented(app: Flask, method: str, response: TestResponse) -> None:
    """Fails unless the answer is one that the API's description promises."""
    request = response.request
    with app.test_request_context(request.path, method=method):
        from flask import request as routed

        name = routed.endpoint
    if name is None:
        assert response.content_type == "application/problem+json"
        return
    if response.status_code == 405:
        return  # of another method than the described one
    declared = routes_of(app)[name]
    route = Described.of(name, declared)
    described = route.responses.get(str(response.status_code))
    assert described, f"{declared.method} {declared.path}: {response.status_code} {response.get_data(as_text=True)}"
    if "content" not in described:
        assert response.data == b""
        return
    content_type = response.mimetype if response.mimetype in described["content"] else "*/*"
    assert content_type in described["content"], response.content_type
    schema = described["content"][content_type]["schema"]
    if response.status_code >= 400 and schema.get("$ref", "").endswith("/Problem"):
        assert f"{response.get_json()['code']}: " in described["description"], response.get_json()
    if content_type.endswith(("/json", "+json")):
        route.validator(response.status_code, content_type).validate(response.get_json())
