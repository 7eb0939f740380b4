"""WebSocket routes of contracts (RFC 6455): 101 only after everything that can be refused has been checked."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Response, request

from app.core.contract import frames
from app.core.contract.model import Contract, ContractRoute
from app.core.event import names
from app.core.event.drafts import Draft
from app.core.problem import Problem
from app.core.wire import json_text, websocket
from app.ledger.ledger import Submission
from app.ledger.streams import StreamRow
from app.live.carrier import Carrier
from app.live.websocket_input import Inbound, close_frame
from app.web.engine import Engine, engine
from app.web.live.credentials import Opener, opener
from app.web.live.errors import Refused
from app.web.live.opening import (
    check_limits,
    cursor_of,
    fixed_frame,
    open_carrier,
    opening_of,
    start_of,
    stream_asked_for,
    types_of,
)

log = logging.getLogger(__name__)

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
LINGER_SECONDS = 2.0  # for the client's half of the closing handshake
MAX_WAITING_TEXTS = 100  # of one client; the rate limit lets fewer come


def serve_websocket(declared: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """Open a WebSocket stream."""
    joined = engine()
    key = _handshake_key()
    who = opener(route)
    found = stream_asked_for(joined, declared, route, who, kind, stream_id)
    if found.ended and route.ended == "refuse":
        raise Refused("ended", f"This {kind} has ended.")
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        raise Problem("unavailable", "Live streams need the gunicorn gevent server.")
    check_limits(joined, who)
    view = frames.view(route, "ws", found.attributes, types_of(route))
    start, last = start_of(joined, route, found, cursor_of(route))
    talk = _Conversation(joined, route, found, who)
    options = talk.options(lambda: fixed_frame(route.closing, view, found))
    options["opening"] = opening_of(route, view, found, last)
    feed = open_carrier(joined, route, view, found, who, sock, start, options)
    talk.bind(feed)
    accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
    return _Switched(_run(feed, talk), accept)


def _handshake_key() -> str:
    headers = request.headers
    upgrades = {part.strip().lower() for part in headers.get("Upgrade", "").split(",")}
    # HEAD comes here with GET, but only GET opens a WebSocket (RFC 6455 section 4.1).
    if request.method != "GET" or "websocket" not in upgrades or "upgrade" not in headers.get("Connection", "").lower():
        raise Problem("upgrade_required", "This path speaks WebSocket; connect with a WebSocket client.")
    if headers.get("Sec-WebSocket-Version") != "13":
        raise Problem("upgrade_required", "Only version 13 of the WebSocket protocol is spoken here.")
    key = headers.get("Sec-WebSocket-Key", "").strip()
    try:
        whole = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        whole = False
    if not whole:
        raise Problem("bad_request", "Sec-WebSocket-Key must be 16 bytes in base 64 (RFC 6455 section 4.1).")
    return key


class _Switched(Response):
    """101 Switching Protocols; the iterator owns the socket from then on."""

    def __init__(self, run: Iterator[bytes], accept: str) -> None:
        # As RFC 6455 and its readers spell it; from the number alone, werkzeug makes it all capitals.
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Accept": accept}
        super().__init__(status="101 Switching Protocols", headers=headers)
        # gunicorn adds `Connection: upgrade` itself when it sees this one, which WSGI applications may not send.
        self.headers["Connection"] = "Upgrade"
        del self.headers["Content-Type"]
        self._run = run

    def get_app_iter(self, environ: Any) -> Iterable[bytes]:
        return self._run  # werkzeug gives no body to a 101


def _run(feed: Carrier, talk: _Conversation) -> Iterator[bytes]:
    try:
        yield b""  # makes gunicorn send the headers
        talk.start()
        feed.run()
        # gunicorn would end an HTTP body now. It takes this for a client that has gone, and just closes.
        raise BrokenPipeError(errno.EPIPE, "the WebSocket is over")
    finally:
        talk.stop()
        feed.close()


class _Conversation:
    """What a client says on its WebSocket, and what becomes of it."""

    def __init__(self, joined: Engine, route: ContractRoute, found: StreamRow, who: Opener) -> None:
        self._ledger = joined.ledger
        self._max_depth = joined.settings.max_json_depth
        self._clock = joined.hub.clock
        self._route = route
        self._found = found
        self._who = who
        self._texts: deque[str] = deque()
        self._something = threading.Event()
        self._over = False
        self._inbound = Inbound(self._on_text, self._reply, self._end, time.monotonic)
        self._feed: Carrier | None = None

    def options(self, closing: Callable[[], bytes]) -> dict[str, Any]:
        """How the feed is to treat this connection. closing: the contract's closing frame."""

        def farewell(reason: str) -> bytes:
            return (closing() if reason == "ended" else b"") + close_frame(reason, self._inbound.peer_close)

        return {
            "farewell": farewell,
            "on_input": self._on_input,
            # Who has said goodbye first waits for this side to close (RFC 6455 section 7.1.1).
            "linger_seconds": lambda reason: 0.0 if reason == "peer" else LINGER_SECONDS,
        }

    def bind(self, feed: Carrier) -> None:
        """The connection that answers go to."""
        self._feed = feed
        feed.subscriber.heard_at = self._clock()

    def start(self) -> None:
        """Accept texts in a thread of its own: the event loop must not wait for a commit."""
        if self._route.inbound_type is not None:
            threading.Thread(target=self._work, name="ws-inbound", daemon=True).start()

    def stop(self) -> None:
        """No more is accepted."""
        self._over = True
        self._something.set()

    def _on_input(self, data: bytes) -> None:
        if self._feed is not None:
            self._feed.subscriber.heard_at = self._clock()
        self._inbound.receive(data)

    def _on_text(self, text: str) -> None:
        if self._route.inbound_type is None:
            self._say("bad_request", "This stream takes no texts from its viewers.")
        elif len(self._texts) < MAX_WAITING_TEXTS:
            self._texts.append(text)
            self._something.set()
        else:
            self._end("too_fast")

    def _work(self) -> None:
        over = False
        while not over:
            self._something.wait()
            self._something.clear()
            over = self._over
            while self._texts:  # also when it is over: what was said before the end counts
                try:
                    self._accept(self._texts.popleft())
                except Problem as problem:
                    self._say(problem.code, problem.detail)
                except Exception:
                    log.exception("a text of a WebSocket client could not be taken")
                    self._say("internal", "Something broke on our side.")

    def _accept(self, text: str) -> None:
        if not self._who.may_publish:
            raise Problem("forbidden", "Texts become events, which needs a key with the scope publish.")
        raw, value = json_text.read_json(text.encode(), self._max_depth)
        if not isinstance(value, dict) or set(value) != {"type", "data"}:
            raise Problem("invalid", 'Send {"type": "dtmf", "data": {…}}, with these two members.')
        if not isinstance(value["type"], str) or not names.TYPE.fullmatch(value["type"]):
            raise Problem("invalid", "type: give letters, digits and _ . : - (at most 128).")
        if not isinstance(value["data"], dict):
            raise Problem("invalid", "data: must be an object.")
        found = self._found
        draft = Draft(
            found.kind,
            found.external_id,
            self._route.inbound_type or "",
            json_text.compact(raw.strip(" \t\r\n")),
            value,
            None,
            None,
        )
        answer = self._ledger.accept(Submission(found.workspace_id, [draft]))[0]
        if isinstance(answer, Problem):
            raise answer

    def _say(self, code: str, detail: str) -> None:
        body = json.dumps({"error": {"code": code, "detail": detail}}, ensure_ascii=False)
        self._reply(websocket.text_frame(body.encode()))

    def _reply(self, frame: bytes) -> None:
        if self._feed is not None:
            self._feed.subscriber.say(frame)

    def _end(self, reason: str) -> None:
        if self._feed is not None and self._feed.lingering:
            self._feed.subscriber.fail()  # both sides have said farewell
        elif self._feed is not None:
            self._feed.subscriber.close(reason)
