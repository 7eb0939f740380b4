"""Reads a request's body in bounded time, and closes the connection behind a body that was not read to its end.

A body that never finishes would hold a place of this process for as long as its sender likes, and what is left of a
body would be read as the next request.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import gevent
from flask import Flask, Request, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from app.core.problem import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# A body has this long to begin, and then as long as its bytes take at the least rate: a bad mobile line is faster.
START_SECONDS = 10.0
LEAST_BYTES_PER_SECOND = 16 * 1024
PIECE_BYTES = 16 * 1024
# Of one key in one process: more than any producer reads at once, and 64 MiB of memory at most.
MOST_BODIES = 200
MOST_BYTES = 64 * 2**20
# Whoever still sends is given a moment to read the answer: closing at once would reset the connection under it.
LINGER_SECONDS = 2.0
LINGER_BYTES = 2**20


class _Arriving:
    """The bodies that are being read now, by whose they are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @contextmanager
    def one(self, owner: str, size: int) -> Iterator[None]:
        """Count a body of at most `size` bytes. Raises Problem too_many."""
        with self._lock:
            if self._bodies[owner] >= MOST_BODIES or (self._bodies[owner] and self._bytes[owner] + size > MOST_BYTES):
                text = "Too many request bodies of this key are arriving at once; wait for answers."
                raise Problem("too_many", text, retry_after_seconds=1)
            self._bodies[owner] += 1
            self._bytes[owner] += size
        try:
            yield
        finally:
            with self._lock:
                self._bodies[owner] -= 1
                self._bytes[owner] -= size
                if not self._bodies[owner]:
                    del self._bodies[owner], self._bytes[owner]


_arriving = _Arriving()
_CLOSE = "twofold.close"  # in the environment: tells gunicorn that the connection ends with this answer


def read_bytes(request: Request, most: int, owner: str = "") -> bytes:
    """The body, at most `most` bytes whether or not its length is announced. owner: the id of the key that sends it.

    Raises Problem: too_large, bad_request when it is cut off or malformed, request_timeout when it comes too slowly,
    too_many when the owner has too many bodies arriving, unsupported_media_type when it is compressed.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(
            "unsupported_media_type", f"Send the body uncompressed; this one has Content-Encoding: {encoding}."
        )
    # One more than allowed: Werkzeug silently truncates a body of unannounced length at its limit.
    request.max_content_length = most + 1
    size = most if request.content_length is None else min(request.content_length, most)
    with _arriving.one(owner, size):
        try:
            raw = _read(request, most)
        except RequestEntityTooLarge:
            raise Problem("too_large", f"The body is larger than {most} bytes; send less at once.") from None
        except (ClientDisconnected, OSError):
            text = "The body is shorter than its announced length; send all of it."
            raise Problem("bad_request", text) from None
        except ParseException as error:
            raise Problem("bad_request", f"The body cannot be read: {error}.") from None
    g.body_was_read = True
    return raw


def _read(request: Request, most: int) -> bytes:
    """Raises RequestEntityTooLarge, OSError, ParseException, and Problem request_timeout."""
    pieces: list[bytes] = []
    size, stream, began = 0, request.stream, time.monotonic()
    late = Problem(
        "request_timeout", f"The body came slower than {LEAST_BYTES_PER_SECOND} bytes per second; send it again."
    )
    while True:
        seconds = began + START_SECONDS + size / LEAST_BYTES_PER_SECOND - time.monotonic()
        with gevent.Timeout(max(seconds, 0.001), late):
            piece = stream.read(PIECE_BYTES)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise RequestEntityTooLarge
        if size == request.content_length:
            return b"".join(pieces)


def install(app: Flask) -> None:
    """Close the connection behind every answer to a request whose body was not read to its end, and say so."""
    app.after_request(_close_behind_the_rest)
    answer = app.wsgi_app

    def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # gunicorn drops a Connection header of ours. Its own says `close` when its response object is told to.
        gunicorns = getattr(start_response, "__self__", None)
        environ[_CLOSE] = getattr(gunicorns, "force_close", lambda: None)
        return answer(environ, start_response)

    app.wsgi_app = wsgi_app  # type: ignore[method-assign]


def _close_behind_the_rest(response: Response) -> Response:
    announced = bool(request.content_length) or "Transfer-Encoding" in request.headers
    sock = request.environ.get("gunicorn.socket")
    if announced and not g.get("body_was_read") and sock is not None and not response.direct_passthrough:
        request.environ[_CLOSE]()
        body = response.get_data()
        response.headers["Content-Length"] = str(len(body))
        response.response = _then_close(body, sock)
    return response


def _then_close(body: bytes, sock: Any, clock: Callable[[], float] = time.monotonic) -> Iterator[bytes]:
    yield body
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        until, left = clock() + LINGER_SECONDS, LINGER_BYTES
        while left > 0 and (seconds := until - clock()) > 0:
            sock.settimeout(seconds)
            piece = sock.recv(65536)
            if not piece:
                break
            left -= len(piece)
    # gunicorn would read what is left as the next request. It takes this for a client that has gone, and just closes.
    raise BrokenPipeError(errno.EPIPE, "the body was not read to its end")
