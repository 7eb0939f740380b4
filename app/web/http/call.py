"""What a declared route is, what its handler is given (a call) and what it gives back (an answer)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Response
from sqlalchemy.orm import Session
from werkzeug.datastructures import Headers

from app.accounts.callers import Caller, Presented
from app.live.feed.tokens import FeedToken
from app.web.engine import Engine
from app.web.http.fields import Field
from app.web.http.reading import JSON

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

WORKSPACE, OPTIONAL_WORKSPACE, PLATFORM = "workspace", "optional", "platform"


class Admission(NamedTuple):
    """Who was let in, and for which workspace ('' when the route has none). presented: what is to be judged again,
    because it may have been remembered. token: what came instead of a key, and opens less."""

    caller: Caller
    workspace_id: str
    presented: Presented | None = None
    token: FeedToken | None = None


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """A declared route. public: why it needs no key, or ''. acts_for: the workspace it needs.

    answers: status to the name of a schema (app.web.docs.schemas), '' for no body. refusals: the codes of Problems that
    its handler raises, besides those of the guard. headers: what its handler reads (name, pattern, what it is).
    transaction: whether one is opened around the handler. websocket: whether it opens a WebSocket. operation: its
    OpenAPI operation, where it is not made from the other members.
    """

    method: str
    path: str
    scope: str
    summary: str
    public: str = ""
    acts_for: str = WORKSPACE
    body: tuple[Field, ...] | None = None
    body_schema: str = ""
    query: tuple[Field, ...] = ()
    answers: Mapping[int, str] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    headers: tuple[tuple[str, str, str], ...] = ()
    transaction: bool = True
    websocket: bool = False
    operation: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Call:
    """One admitted request, read and checked. due: set by a handler whose transaction makes a delivery due.

    presented: for a route that judges, with what the caller has come. confirm: for one that does not get so far; judges
    the caller by himself, and raises Problem. token: as of Admission.
    """

    engine: Engine
    caller: Caller
    workspace_id: str
    args: dict[str, Any]
    body: dict[str, Any]
    idempotency_key: str | None = None
    due: bool = False
    presented: Presented | None = None
    confirm: Callable[[], object] = lambda: None
    token: FeedToken | None = None
    _session: Session | None = None

    @property
    def judged_along(self) -> Presented:
        """What the handler has the database judge."""
        if self.presented is None:
            raise RuntimeError("this route was declared without judges=True")
        return self.presented

    @property
    def session(self) -> Session:
        """The transaction around the handler."""
        if self._session is None:
            raise RuntimeError("this route was declared without a transaction")
        return self._session


class _Complete(Response):
    """A response whose headers need nothing more: its length and type are said, it leads nowhere."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        return self.headers


def _to_json(value: Any) -> str:
    """As json.dumps writes it, whose encoder is made anew for each call."""
    return "".join(_encode(value, 0))


_encode = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, json.JSONEncoder().default, json.encoder.encode_basestring, None, ":", ",", False, False, True
)


class Answer(NamedTuple):
    """What a handler gives back: a JSON value, JSON text as bytes, or None for no body."""

    value: Any
    status: int = 200

    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.value, bytes):
            return self.value
        if self.value is None:
            return b""
        # "replace": a refusal in a batch may quote half a surrogate pair that the caller sent.
        return _to_json(self.value).encode("utf-8", "replace")


Handler = Callable[..., Answer | Response]
Admit = Callable[[ApiRoute], Admission]


def response_of(answer: Answer | Response) -> Response:
    """What a handler gave back, as Flask's response."""
    if isinstance(answer, Response):
        return answer
    if answer.value is None:
        return Response(status=answer.status)
    return _Complete(answer.content(), answer.status, content_type=JSON)
