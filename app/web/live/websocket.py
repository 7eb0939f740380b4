"""Live streams as WebSockets (RFC 6455): 101 only after everything that can be refused has been checked."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response, request
from werkzeug.wsgi import ClosingIterator

from app.core.contract.model import Contract, ContractRoute
from app.core.problem import Problem
from app.live.carrier import Carrier
from app.web.live.conversation import Conversation
from app.web.live.opening import admit, forget_request, open_carrier, place, refuse_ended, require_room
from app.web.live.query import read_query

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


def serve_websocket(contract: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """Open a WebSocket stream."""
    accept = accept_handshake()
    admitted = admit(contract, route, kind, stream_id)
    refuse_ended(admitted)
    sock = require_room(admitted)
    placed = place(admitted, read_query(route, ended=admitted.stream.ended), "ws")
    conversation = Conversation(admitted)
    carrier = open_carrier(placed, sock, conversation.handling(placed))
    conversation.bind(carrier)
    return Switched(_run(carrier, conversation, request.environ), accept)


def accept_handshake() -> str:
    """The Sec-WebSocket-Accept for the client's handshake. Raises Problem upgrade_required, bad_request."""
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
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()


class Switched(Response):
    """101 Switching Protocols; the iterator owns the socket from then on."""

    def __init__(self, run: Iterator[bytes], accept: str) -> None:
        # The reason phrase as RFC 6455 and its readers spell it; werkzeug would write it in capitals.
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Accept": accept}
        super().__init__(status="101 Switching Protocols", headers=headers)
        # gunicorn adds `Connection: upgrade` itself when it sees this one, which WSGI applications may not send.
        self.headers["Connection"] = "Upgrade"
        del self.headers["Content-Type"]
        self._run = run

    def get_app_iter(self, environ: Any) -> Iterable[bytes]:
        return ClosingIterator(self._run, self.close)  # werkzeug gives no body to a 101


def _run(carrier: Carrier, conversation: Conversation, environ: dict[str, Any]) -> Iterator[bytes]:
    try:
        yield b""  # makes gunicorn send the headers
        forget_request(environ)
        conversation.start()
        carrier.run()
        # Returning would make gunicorn end an HTTP body. This looks like a client that has gone, so it just closes.
        raise BrokenPipeError(errno.EPIPE, "the WebSocket is over")
    finally:
        conversation.stop()
        carrier.close()
