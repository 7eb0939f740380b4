"""Every route of the URL map × everybody who may come × own, foreign and absent ids.

What is expected follows from what the route declares. A route whose declaration does not say it fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app.core.contract.model import ContractRoute
from app.web.http.call import OPTIONAL_WORKSPACE, PLATFORM, WORKSPACE, ApiRoute
from app.web.http.cookie import COOKIE
from app.web.http.routes import routes_of
from app.web.pages.console.visit import pages_of
from app.web.pages.portal.visit import portal_pages_of
from tests.web.doors import EVERY_SCOPE, Door, check_documented, handshake
from tests.web.things import (
    ABSENT,
    KINDS,
    body_for,
    comparable,
    contracts_routes,
    filled,
    named_path,
    things_of,
)

MINE, THEIRS = "mbsess_mine", "mbsess_theirs"
THROUGH = 0  # admitted: what is answered then is the handler's business
# What a handler decides of workspace keys, where a route acts for the platform: with one's own id, and without an id.
PLATFORM_ROUTES = {
    ("POST", "/v1/workspaces"): 403,
    ("GET", "/v1/workspaces"): 403,
    ("GET", "/v1/workspaces/{workspace}"): THROUGH,
    ("PUT", "/v1/workspaces/{workspace}"): 403,
    ("PATCH", "/v1/workspaces/{workspace}"): 403,
    ("DELETE", "/v1/workspaces/{workspace}"): 403,
}
# Names that a caller gives to something new: there is nothing foreign about them.
NEW_NAMES = {
    ("PUT", "/v1/streams/{kind}/{stream_id}"),
    ("PUT", "/v1/event-types/{type}"),
    ("PUT", "/v1/feed/consumers/{consumer}"),
    ("PUT", "/v1/workspaces/{workspace}"),
}
IDS_IN_PATH = {*ABSENT} - {"kind"}


@dataclass
class Visitor:
    """Somebody who calls. holds: key, token, cookie, garbage or nothing. tokens: by kind, where that is what is held.

    named: the workspace that a platform key or a session names ('' for none). own: whether what it may reach is acme's.
    """

    holds: str
    secret: str = ""
    scopes: frozenset[str] = frozenset(EVERY_SCOPE)
    platform: bool = False
    named: str = ""
    reaches: str = "acme"
    tokens: dict[str, str] = field(default_factory=dict)
    token_opens: bool = False

    def headers(self, kind: str, contract: ContractRoute | None) -> dict[str, str]:
        """The credential, in a place where the route looks for one."""
        made = {"X-Request-Id": "same"}
        secret = self.tokens[kind] if self.holds == "token" else self.secret
        if secret and self.holds != "cookie":
            made["Authorization"] = f"Bearer {secret}"
            if contract is not None and f"{self.holds}:x-api-key" in contract.credentials:
                made["X-API-Key"] = made.pop("Authorization").removeprefix("Bearer ")
        return made | ({"X-Workspace": self.named} if self.named else {})


@dataclass
class Stage:
    app: Flask
    acme: Door
    globex: Door
    platform: Door

    def key(self, door: Door, scopes: list[str]) -> str:
        return str(door.post("/v1/keys", {"name": "matrix", "scopes": scopes})["key"])

    def tokens(self, stream_id: str) -> dict[str, str]:
        """A stream token of acme for one stream of each kind."""
        return {kind: self.acme.post(f"/v1/streams/{kind}/{stream_id}/tokens")["token"] for kind in KINDS}

    def revoked(self) -> str:
        made = self.acme.post("/v1/keys", {"name": "matrix", "scopes": EVERY_SCOPE})
        self.acme.delete(f"/v1/keys/{made['id']}")
        return str(made["key"])

    def cookie(self) -> str:
        answer = self.acme.ask("POST", "/v1/session")
        assert answer.status_code == 204
        (found,) = re.findall(rf"{COOKIE}=([^;]+)", answer.headers["Set-Cookie"])
        return str(found)


VISITORS: dict[str, Callable[[Stage], Visitor]] = {
    "no credentials": lambda stage: Visitor("nothing"),
    "garbage": lambda stage: Visitor("garbage", "pk_" + "x" * 43),
    "a revoked key": lambda stage: Visitor("garbage", stage.revoked()),
    "a workspace key": lambda stage: Visitor("key", stage.acme.key),
    **{
        f"only {scope}": lambda stage, scope=scope: Visitor("key", stage.key(stage.acme, [scope]), frozenset([scope]))
        for scope in EVERY_SCOPE
    },
    "a platform key": lambda stage: Visitor("key", stage.platform.key, platform=True, reaches=""),
    "a platform key for acme": lambda stage: Visitor("key", stage.platform.key, platform=True, named="acme"),
    "a platform key for nobody": lambda stage: Visitor(
        "key", stage.platform.key, platform=True, named="nobody", reaches="nothing"
    ),
    "a foreign key": lambda stage: Visitor("key", stage.globex.key, reaches="globex"),
    "a key for a foreign workspace": lambda stage: Visitor(
        "key", stage.acme.key, named=stage.globex.workspace_id, reaches="nothing"
    ),
    "the stream's token": lambda stage: Visitor("token", tokens=stage.tokens(MINE), token_opens=True),
    "another stream's token": lambda stage: Visitor("token", tokens=stage.tokens("mbsess_other")),
    "a session's cookie": lambda stage: Visitor("cookie", stage.cookie()),
}


@pytest.fixture
def stage(acme: Door, globex: Door, platform: Door) -> Stage:
    for kind in KINDS:
        acme.publish(kind, "mbsess_other", "made.up")
    return Stage(acme.app, acme, globex, platform)


def expected(declared: ApiRoute, contract: ContractRoute | None, visitor: Visitor, whose: str) -> int:
    """The status that the route's declaration promises; THROUGH when the visitor is let in."""
    if declared.public:
        return THROUGH
    if not takes(contract, visitor, whose):
        return 401
    if visitor.holds != "token" and declared.scope not in visitor.scopes:
        return 403
    names_id = bool({*re.findall(r"\{(\w+)\}", named_path(declared, contract))} & IDS_IN_PATH)
    if declared.acts_for == PLATFORM:
        return of_platform(declared, visitor, whose)
    if declared.acts_for == WORKSPACE and visitor.reaches == "":
        return 400
    if visitor.reaches == "nothing":
        return 404
    is_own = {"own": "acme", "foreign": "globex", "absent": "nobody"}[whose] == visitor.reaches
    if names_id and not is_own and (declared.method, declared.path) not in NEW_NAMES:
        return 404
    assert declared.acts_for in (WORKSPACE, OPTIONAL_WORKSPACE), "what it acts for is not declared"
    return THROUGH


def takes(contract: ContractRoute | None, visitor: Visitor, whose: str) -> bool:
    """Whether a route takes what the visitor holds. whose: the stream that is asked for; a token opens one alone."""
    if contract is None:
        return visitor.holds == "key"
    if visitor.holds == "token" and not (visitor.token_opens and whose == "own"):
        return False
    return any(way.startswith(f"{_WAYS.get(visitor.holds, 'none')}:") for way in contract.credentials)


_WAYS = {"key": "key", "token": "token", "cookie": "session"}


def of_platform(declared: ApiRoute, visitor: Visitor, whose: str) -> int:
    decided = PLATFORM_ROUTES[declared.method, declared.path]  # a KeyError: say there what the new route decides
    if "{" not in declared.path:
        return THROUGH if visitor.platform else decided
    if visitor.platform:
        return 404 if whose == "absent" and (declared.method, declared.path) not in NEW_NAMES else THROUGH
    named = {"own": "acme", "foreign": "globex", "absent": "nobody"}[whose]
    return decided if visitor.reaches == named or (visitor.named and whose == "own") else 404


def ask(stage: Stage, declared: ApiRoute, visitor: Visitor, values: dict[str, str], method: str) -> TestResponse:
    contract = contracts_routes(stage.app).get(declared.path)
    kind = contract.kind if contract is not None and contract.kind else "call"
    client = stage.app.test_client()
    if visitor.holds == "cookie":
        client.set_cookie(COOKIE, visitor.secret)
    headers = {**visitor.headers(kind, contract), **handshake(stage.app, declared)}
    path = filled(named_path(declared, contract), {**values, "name": "live.js", "page": "verify"})
    response = client.open(path, method=method, json=body_of(declared, visitor), headers=headers)
    if method != "HEAD":
        check_documented(stage.app, method, response)
    return response


def body_of(declared: ApiRoute, visitor: Visitor) -> Any:
    """A body that is in order, for this visitor: nobody may give away scopes that they do not have."""
    if declared.body_schema:
        return {"stream": {"kind": "call", "id": "published"}, "type": "made.up", "data": {}}
    if (declared.method, declared.path) == ("POST", "/v1/feed/tokens"):
        return {"kinds": ["call"]}  # one of two fields has to be there
    body = body_for(declared.body)
    return body | {"scopes": sorted(visitor.scopes)[:1]} if body and "scopes" in body else body


class Things:
    """What acme and globex have. What a visitor who was let in has taken away is made anew."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.foreign = things_of(stage.globex, THEIRS)
        self.own = things_of(stage.acme, MINE)
        self._times = 0

    def restore(self) -> None:
        """With other streams: one that has ended stays ended."""
        self._times += 1
        self.own = things_of(self._stage.acme, f"{MINE}{self._times}")

    def ids(self, whose: str, declared: ApiRoute, *, admitted: bool) -> dict[str, str]:
        """The ids to ask with. A workspace that is going to be changed or deleted is one that nobody needs."""
        found = {"own": self.own, "foreign": self.foreign, "absent": ABSENT}[whose]
        if admitted and declared.path.startswith("/v1/workspaces/") and declared.method != "GET":
            return found | {"workspace": self._stage.platform.post("/v1/workspaces", {"name": "spare"})["id"]}
        return found


def ways(declared: ApiRoute, contract: ContractRoute | None) -> Iterator[str]:
    """The methods to ask with: HEAD goes wherever GET goes, but opens no WebSocket."""
    yield declared.method
    if declared.method == "GET" and not declared.websocket and (contract is None or contract.does != "websocket"):
        yield "HEAD"


def api_rules(app: Flask) -> list[Rule]:
    """The rules of the URL map but for those of people's pages."""
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint not in {*pages_of(app), *portal_pages_of(app)}]


def routes(app: Flask) -> list[ApiRoute]:
    """Every rule of the URL map, by its declaration; deletions and ends behind what needs the things, and what makes
    things of any name at the end. People's pages have a matrix of their own (tests/web/pages/console)."""
    declared = routes_of(app)
    found = {rule.endpoint: declared[rule.endpoint] for rule in api_rules(app)}
    return sorted(
        found.values(),
        key=lambda one: (
            (one.method, one.path) in NEW_NAMES,
            one.method == "DELETE",
            one.path.endswith("/end"),
            -len(one.path),
        ),
    )


@pytest.mark.parametrize("who", VISITORS)
def test_each_visitor_gets_what_each_route_declares(stage: Stage, who: str) -> None:
    things = Things(stage)
    visitor = VISITORS[who](stage)
    contracts = contracts_routes(stage.app)
    wrong, seen = [], 0
    for declared in routes(stage.app):
        contract, answers = contracts.get(declared.path), dict[tuple[str, str], Any]()
        for whose in ("own", "foreign", "absent"):
            wanted = expected(declared, contract, visitor, whose)
            for method in ways(declared, contract):
                values = things.ids(whose, declared, admitted=wanted == THROUGH)
                response = ask(stage, declared, visitor, values, method)
                answers[method, whose] = wanted, *comparable(response, values)
                seen += 1
                if not agrees(response.status_code, wanted):
                    text = response.get_data(as_text=True)[:300]
                    wrong.append(f"{method} {declared.path}, {whose}: {response.status_code}, not {wanted}: {text}")
            if wanted == THROUGH and whose == "own" and (declared.method == "DELETE" or declared.path.endswith("/end")):
                things.restore()
        wrong += told_apart(declared, answers)
    assert wrong == [], "\n".join(wrong)
    assert seen >= 3 * len(api_rules(stage.app))


def agrees(status: int, wanted: int) -> bool:
    """Whether an answer is the one that is wanted. Flask's test server has no socket that a live stream could use."""
    return status == wanted if wanted else status < 400 or status in (409, 503)


def told_apart(declared: ApiRoute, answers: dict[tuple[str, str], Any]) -> Iterator[str]:
    """Where a foreign id is answered otherwise than an absent one, to somebody who is refused both."""
    for method in {method for method, _ in answers}:
        (wanted, *foreign), (other, *absent) = answers[method, "foreign"], answers[method, "absent"]
        if wanted == other != THROUGH and foreign != absent:
            yield f"{method} {declared.path}: {foreign} for a foreign id, {absent} for an absent one"
