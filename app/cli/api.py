"""The HTTP API as commands use it: one server, one key, and every refusal as one sentence with its trace id."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import click

from app.cli import profiles
from app.cli.command import CommandError, Status, status_of
from app.cli.profiles import Server

if TYPE_CHECKING:
    import requests

    from app.client import Stream

F = TypeVar("F", bound=Callable[..., Any])

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0  # a recovery of a long time is the slowest that is asked for
PAGE = 250  # the most that one page of a list holds
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Api:
    """Requests to one server. Every method raises CommandError when there is no good answer."""

    def __init__(self, server: Server) -> None:
        import requests

        self.server = server
        self._http = requests.Session()
        # As `auth` and not as a header: a header would lose against an entry for this host in ~/.netrc.
        self._http.auth = self._sign
        self._http.trust_env = urlsplit(server.url).hostname not in LOOPBACK  # no proxy on the way to this machine
        if server.workspace:
            self._http.headers["X-Workspace"] = server.workspace

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """A JSON answer. params: those that are None are left out."""
        return self.json("GET", path, params=params)

    def post(self, path: str, body: Any = None) -> Any:
        """A JSON answer to a JSON body."""
        return self.json("POST", path, json={} if body is None else body)

    def json(self, method: str, path: str, **options: Any) -> Any:
        """A JSON answer, None for one without a body."""
        answer = self.accepted(method, path, **options)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise CommandError(
                f"{self.server.url} does not answer as Twofold does (from {self.server.origin})"
            ) from None

    def text(self, path: str) -> str:
        """An answer as it was spelled."""
        return str(self.accepted("GET", path).content.decode(errors="replace"))

    def rows(self, path: str, params: Mapping[str, Any], limit: int) -> Iterator[dict[str, Any]]:
        """The rows of a list, page by page, `limit` at most; 0: all."""
        cursor, left = None, limit or None
        while True:
            page = self.get(path, {**params, "limit": min(left or PAGE, PAGE), "cursor": cursor})
            yield from page["data"]
            cursor = page["next_cursor"]
            left = None if left is None else left - len(page["data"])
            if not cursor or left == 0:
                return

    def stream(self, path: str, last_event_id: str = "") -> Stream:
        """A live stream that goes on after cuts."""
        from app.client import Stream

        return Stream(self.server.url + path, last_event_id=last_event_id, session=self._http)

    def accepted(self, method: str, path: str, **options: Any) -> requests.Response:
        """A 2xx answer."""
        answer = self.answered(method, path, **options)
        if not answer.ok or answer.is_redirect:
            raise refusal(answer.status_code, answer.text, answer.headers.get("Location", ""))
        return answer

    def answered(self, method: str, path: str, **options: Any) -> requests.Response:
        """Any answer."""
        import requests

        try:
            options.setdefault("timeout", (CONNECT_SECONDS, ANSWER_SECONDS))
            return self._http.request(method, self.server.url + path, allow_redirects=False, **options)
        except requests.RequestException as error:
            raise CommandError(unreachable(self.server, error), Status.UNREACHABLE) from None

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.server.key}"
        return request


def unreachable(server: Server, error: Exception) -> str:
    """Why there was no answer, in one line."""
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        why = "its certificate cannot be verified"
    elif isinstance(error, requests.Timeout):
        why = "no answer in time"
    else:
        why = "no connection"
    return f"{server.url} does not answer: {why} (from {server.origin}). Does it run? twofold doctor says more"


def refusal(status: int, body: str, location: str = "") -> CommandError:
    """What the server refused, as one sentence with its trace id and an exit status of its cause."""
    if location:
        return CommandError(f"the server sends its callers elsewhere ({location}); name that address", Status.FAILED)
    try:
        problem = json.loads(body)
        told = ", ".join([str(status), problem["code"], f"trace {problem['trace_id']}"])
        return CommandError(f"{problem['detail']} ({told})", status_of(status))
    except (ValueError, KeyError, TypeError, AttributeError):
        return CommandError(f"the server answered {status}: {body[:200].strip()}", status_of(status))


def part(text: str) -> str:
    """Text as one part of a path."""
    return quote(text, safe="")


def stream_path(name: str) -> str:
    """The path of a stream that is called kind/id. Raises CommandError."""
    kind, id = _named(name)
    return f"/v1/streams/{part(kind)}/{part(id)}"


def stream_name(name: str) -> str:
    """How the feed calls a stream that is called kind/id. Raises CommandError."""
    return ":".join(_named(name))


def _named(name: str) -> tuple[str, str]:
    kind, slash, id = name.partition("/")
    if not (kind and slash and id):
        raise CommandError(f"{name!r} is not a stream; write its kind and its id, such as call/call_42", Status.USAGE)
    return kind, id


def asks(command: F) -> Callable[..., Any]:
    """A command that asks the server: adds --profile and --workspace, and passes the Api first."""
    return _asking(command, platform=False)


def asks_platform(command: F) -> Callable[..., Any]:
    """The same, with the platform key of a local run rather than its workspace's."""
    return _asking(command, platform=True)


def _asking(command: F, *, platform: bool) -> Callable[..., Any]:
    @click.option("--profile", metavar="NAME", help="The server to ask (see twofold profile).")
    @click.option("--workspace", metavar="ID", help="Id or uid of the workspace, for a platform key.")
    @wraps(command)
    def asked(*args: Any, profile: str | None, workspace: str | None, **rest: Any) -> Any:
        with Api(server(profile, workspace, platform=platform)) as api:
            return command(api, *args, **rest)

    return asked


def server(profile: str | None, workspace: str | None, *, platform: bool = False) -> Server:
    """The server that this call asks. Raises CommandError when none is known."""
    known = profiles.read(profiles.place(os.environ))
    platform = platform or workspace is not None
    found = profiles.choose(known, os.environ, profile) or profiles.local_server(os.environ, platform=platform)
    if found is None:
        raise CommandError(profiles.NO_SERVER, Status.USAGE)
    return Server(found.url, found.key, workspace or found.workspace, found.origin)
