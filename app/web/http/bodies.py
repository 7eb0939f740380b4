"""Reads a request's body in bounded time, and closes the connection behind a body that was not read to its end.

A body that never finishes would hold a place of this process for as long as its sender likes, and what is left of a
body would be read as the next request.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gevent
from flask import Flask, Request, Response, request
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
    """The bodies that are being read now, by whose they are. Without a lock: greenlets come and go while they wait, and
    nothing here does."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, int]] = {}  # how many, and how many bytes they may have

    def begin(self, owner: str, size: int) -> None:
        """Count a body of at most `size` bytes. Raises Problem too_many."""
        bodies, sizes = self._of.get(owner, (0, 0))
        if bodies >= MOST_BODIES or (bodies and sizes + size > MOST_BYTES):
            text = "Too many request bodies of this key are arriving at once; wait for answers."
            raise Problem("too_many", text, retry_after_seconds=1)
        self._of[owner] = bodies + 1, sizes + size

    def end(self, owner: str, size: int) -> None:
        """Undo one begin()."""
        bodies, sizes = self._of.pop(owner)
        if bodies > 1:
            self._of[owner] = bodies - 1, sizes - size


_arriving = _Arriving()
# In the environment: tells gunicorn that the connection ends with this answer; whether the body was read to its end.
_CLOSE, _READ = "twofold.close", "twofold.body_was_read"


def read_bytes(request: Request, most: int, owner: str = "") -> bytes:
    """The body, at most `most` bytes whether or not its length is announced. owner: the id of the key that sends it.

    Raises Problem: too_large, bad_request when it is cut off or malformed, request_timeout when it comes too slowly,
    too_many when the owner has too many bodies arriving, unsupported_media_type when it is compressed.
    """
    environ = request.environ
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(
            "unsupported_media_type", f"Send the body uncompressed; this one has Content-Encoding: {encoding}."
        )
    announced = request.content_length
    size = most if announced is None else min(announced, most)
    _arriving.begin(owner, size)
    try:
        raw = _read(request, most, announced)
    except RequestEntityTooLarge:
        raise Problem("too_large", f"The body is larger than {most} bytes; send less at once.") from None
    except (ClientDisconnected, OSError):
        text = "The body is shorter than its announced length; send all of it."
        raise Problem("bad_request", text) from None
    except ParseException as error:
        raise Problem("bad_request", f"The body cannot be read: {error}.") from None
    finally:
        _arriving.end(owner, size)
    environ[_READ] = True
    return raw


def _read(request: Request, most: int, announced: int | None) -> bytes:
    """announced: the length. Raises RequestEntityTooLarge, ClientDisconnected, OSError, ParseException, and Problem
    request_timeout."""
    pieces: list[bytes] = []
    size, stream, began = 0, _stream(request, most, announced), time.monotonic()
    while True:
        seconds = began + START_SECONDS + size / LEAST_BYTES_PER_SECOND - time.monotonic()
        piece: bytes | None = None
        with gevent.Timeout(max(seconds, 0.001), False):
            piece = stream.read(PIECE_BYTES)
        if piece is None:
            text = f"The body came slower than {LEAST_BYTES_PER_SECOND} bytes per second; send it again."
            raise Problem("request_timeout", text)
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise RequestEntityTooLarge
        if size == announced:
            return b"".join(pieces)
        if not piece:
            if announced is not None:  # gunicorn's stream ends with the connection, too
                raise ClientDisconnected
            return b"".join(pieces)


def _stream(request: Request, most: int, announced: int | None) -> Any:
    """gunicorn's own, which ends with a body of announced length; else Werkzeug's, which keeps the limit.

    Raises RequestEntityTooLarge.
    """
    if announced is None:
        # One more than allowed: Werkzeug silently truncates a body of unannounced length at its limit.
        request.max_content_length = most + 1
        return request.stream
    if announced > most:
        raise RequestEntityTooLarge
    return request.environ["wsgi.input"]


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
    environ = request.environ
    announced = environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ
    sock = environ.get("gunicorn.socket")
    if announced and _READ not in environ and sock is not None and not response.direct_passthrough:
        environ[_CLOSE]()
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
