"""Flask, without what it does for each request that always comes out the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from flask.ctx import RequestContext
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter, Rule

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Of a request's environment: what a MapAdapter is made of, but for the three that each request has of its own.
_SAY_WHERE = (
    *("HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME"),
    *("wsgi.url_scheme", "HTTP_CONNECTION", "HTTP_UPGRADE"),
)
MOST_HOSTS = 200  # remembered at once
MOST_TEXT = 1_024  # characters that a host is remembered by: whoever sends requests chooses them


class _NoSession(SessionInterface):
    """Flask's own session, which is not used: http/cookie.py has ours."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


class _Request(Request):
    """Flask's own, which puts the names of a route's blueprints together three times."""

    @cached_property
    def blueprints(self) -> list[str]:
        return super().blueprints


class _Context(RequestContext):
    """Flask's own, for which paths without parameters, the busiest ones, are found at once."""

    app: Application

    def match_request(self) -> None:
        asked, adapter = self.request, self.url_adapter
        rule = self.app.plain_rules.get((asked.method, asked.path))
        if rule is None or adapter is None or adapter.websocket:
            super().match_request()
        else:
            asked.url_rule, asked.view_args = rule, {}


class Application(Flask):
    """For views and hooks that are ordinary functions, and no session of Flask's."""

    session_interface = _NoSession()
    request_class = _Request

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of each host, by what its requests say: its name, and what all of its adapters have in common.
        self._adapters: dict[tuple[str | None, ...], tuple[str, tuple[Any, ...]]] = {}
        self.plain_rules: dict[tuple[str, str], Rule] = {}  # by method and path, those without parameters

    @property
    def hosts_remembered(self) -> int:
        """Of how many hosts it is known what becomes of them."""
        return len(self._adapters)

    def know_plain_rules(self) -> None:
        """To be called when all routes are there; one that comes later is found as Flask finds it."""
        for rule in self.url_map.iter_rules():
            if not rule.arguments and not rule.websocket:
                for method in rule.methods or ():
                    self.plain_rules.setdefault((method, rule.rule), rule)

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        """What is known while a request is answered."""
        return _Context(self, environ)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself. Flask asks before each call of each hook whether it is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds a request's route. Flask judges the Host each time, twice, and encodes it: that takes longer than
        finding the route, so what came of it is remembered."""
        if request is None:
            return super().create_url_adapter(None)
        environ = request.environ
        named = tuple(map(environ.get, _SAY_WHERE))
        known = self._adapters.get(named)
        if known is None:
            made = super().create_url_adapter(request)
            if made is not None and sum(map(len, filter(None, named))) < MOST_TEXT:
                if len(self._adapters) >= MOST_HOSTS:
                    self._adapters.clear()
                alike = (made.server_name, made.script_name, made.subdomain, made.url_scheme)
                self._adapters[named] = request.host, alike
            return made
        request.host, alike = known
        return MapAdapter(
            self.url_map,
            *alike,
            _text(environ["PATH_INFO"]),
            environ["REQUEST_METHOD"],
            _text(environ["QUERY_STRING"]),
        )


def _text(raw: str) -> str:
    """A part of the environment (PEP 3333 has bytes as latin-1) as Werkzeug reads it."""
    return raw.encode("latin-1").decode(errors="replace")
