"""Live streams as server-sent events (WHATWG HTML section 9.2)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, NoReturn

from flask import Response, request

from app.core.contract.model import Contract, ContractRoute
from app.core.wire import sse
from app.live.carrier import Carrier, Handling
from app.web.live.opening import (
    Admitted,
    Placed,
    admit,
    forget_request,
    open_carrier,
    place,
    refuse_ended,
    require_room,
)
from app.web.live.query import read_query


def serve_sse(contract: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """Open a server-sent event stream."""
    return serve_admitted(admit(contract, route, kind, stream_id))


def serve_admitted(admitted: Admitted) -> Response:
    """Open a server-sent event stream for whoever may see it."""
    query = read_query(admitted.route, ended=admitted.stream.ended)
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
    response = Response(_body(carrier, request.environ), headers=list(sse.HEADERS), direct_passthrough=True)
    response.call_on_close(carrier.close)  # a generator that was never begun does not run its `finally`
    return response


def _is_over(placed: Placed) -> bool:
    """Whether a stream is over and shows this client nothing more, so that it should not come back.

    A client without a cursor is let in for the contract's opening or closing frame. Where there is neither, an
    EventSource would be given no id, and would ask the same again forever.
    """
    route = placed.admitted.route
    may_stop = placed.resumes or (route.opening is None and route.closing is None)
    return placed.admitted.over and may_stop and placed.past is None and not placed.shows_more()


def _body(carrier: Carrier, environ: dict[str, Any]) -> Iterator[bytes]:
    try:
        yield b""  # makes gunicorn send the headers; from here on the hub writes to the socket by itself
        forget_request(environ)
        if carrier.run() and carrier.subscriber.closing == "restart":
            cut()
    finally:
        carrier.close()


def _farewell(placed: Placed, reason: str) -> bytes:
    """What ends the stream: the contract's closing frame."""
    if reason != "ended":
        return b""
    # A late viewer may see only this frame; its id lets EventSource stop.
    return placed.closing(str(placed.admitted.stream.last_seq) if placed.admitted.over else None)


class Unanswered(Response):
    """Closes the connection without a byte of an answer; the status is for our log.

    For a stream that is asked for over a connection that was kept alive, in a process that ends: an HTTP client asks
    again at once over a new connection, which another process takes (RFC 9110 section 9.2.2), where a stream that is
    opened and cut would send a viewer away a second time, and a refusal would stop an EventSource for ever.
    """

    def __init__(self) -> None:
        super().__init__(status=503)

    def get_app_iter(self, environ: Any) -> Iterator[bytes]:
        return (cut() for _ in range(1))  # gunicorn sends the head before the first piece, which never comes


def cut() -> NoReturn:
    """End a response without its last chunk, and close the connection, as the last thing in a response's iterator.

    The proper end would tell clients such as Go's r3labs/sse, or a plain fetch, that the stream is over. It would also
    leave the connection open, over which an EventSource asks the same process again. To gunicorn it looks like a client
    that has gone.
    """
    raise BrokenPipeError(errno.EPIPE, "cut without the last chunk")
