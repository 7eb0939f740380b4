"""Live streams as server-sent events (WHATWG HTML section 9.2)."""

from __future__ import annotations

import random
from collections.abc import Iterator

from flask import Response, request

from app.core.contract import frames
from app.core.contract.model import Contract, ContractRoute
from app.core.wire import sse
from app.live.carrier import Carrier, Handling
from app.web.live.opening import Placed, admit, open_carrier, place, refuse_ended, require_room
from app.web.live.query import read_query

# After a restart clients come back spread over this time: each is told another one.
RECONNECT_MILLISECONDS = (1000, 5000)


def serve_sse(contract: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """Open a server-sent event stream."""
    admitted = admit(contract, route, kind, stream_id)
    query = read_query(route, ended=admitted.stream.ended)
    refuse_ended(admitted)
    chunked = request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    placed = place(admitted, query, "chunk" if chunked else "raw")
    if _is_over(placed):
        return Response(status=204)  # stops an EventSource for good (WHATWG HTML, section 9.2.3)
    sock = require_room(admitted)
    if request.method == "HEAD":
        return Response(headers=list(sse.HEADERS))
    handling = Handling(placed.opening(), lambda reason: _farewell(placed, reason), placed.speed)
    carrier = open_carrier(placed, sock, handling)
    response = Response(_body(carrier), headers=list(sse.HEADERS), direct_passthrough=True)
    response.call_on_close(carrier.close)  # a generator that was never begun does not run its `finally`
    return response


def _is_over(placed: Placed) -> bool:
    """Whether a stream has ended and shows this client nothing more, so that it should not come back.

    A client without a cursor is let in for the contract's opening or closing frame. Where there is neither, an
    EventSource would be given no id, and would ask the same again forever.
    """
    route, stream = placed.admitted.route, placed.admitted.stream
    may_stop = placed.resumes or (route.opening is None and route.closing is None)
    return stream.ended and may_stop and placed.past is None and not placed.shows_more()


def _body(carrier: Carrier) -> Iterator[bytes]:
    try:
        yield b""  # makes gunicorn send the headers; from here on the hub writes to the socket by itself
        carrier.run()
    finally:
        carrier.close()


def _farewell(placed: Placed, reason: str) -> bytes:
    """What ends the stream: the contract's closing frame, or before a restart how long to wait."""
    if reason == "ended":
        # A late viewer may see only this frame; its id lets EventSource stop.
        stream = placed.admitted.stream
        return placed.closing(str(stream.last_seq) if stream.ended else None)
    if reason == "restart":
        return frames.wrap(placed.view.wrap, sse.retry(random.randint(*RECONNECT_MILLISECONDS)))
    return b""
