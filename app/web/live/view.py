"""A live view that waits by itself, in a greenlet of its own: it writes to the socket, and ends as every stream does.

For what few watch at a time. Streams, which many watch, are written to by the hub.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from flask import Response
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.database.batching import Abandoned
from app.database.connection import Database
from app.live.beat import Beat
from app.live.hub import Hub
from app.web.live.lines import HEARTBEAT_SECONDS, Line

WAIT_SECONDS = 1.0  # of a blocking read: a viewer that left and a process that ends are noticed this late at most
CREDENTIAL_SECONDS = 5.0  # a revoked key or a deleted workspace closes its views this late at most


def while_there(database: Database, read: Callable[[Connection, str], object], id: str) -> Callable[[], bool]:
    """Tells whether a session or a token can still be read by its id, for whoever watches. It may raise SQLAlchemyError
    or Abandoned, which say nothing of that."""

    def is_there() -> bool:
        with database.begin() as connection:
            return read(connection, id) is not None

    return is_there


class View(ABC):
    """One viewer. life_seconds: what is left of its credential's time, None for a key."""

    def __init__(self, hub: Hub, line: Line, life_seconds: float | None = None) -> None:
        self._hub, self._line = hub, line
        now = hub.clock()  # time runs from the request on, not from when the client first reads
        self._check, self._beat = (Beat(seconds, now + seconds) for seconds in (CREDENTIAL_SECONDS, HEARTBEAT_SECONDS))
        self._expires_at = None if life_seconds is None else now + life_seconds
        self._ended: str | None = None  # why somebody else ends it

    @property
    def transport(self) -> str:
        """Over what it is shown: SSE or WebSocket."""
        return self._line.transport

    @property
    def expires_at(self) -> float | None:
        """When its credential's time is over, by the hub's clock; None for a key."""
        return self._expires_at

    def end(self, reason: str) -> None:
        """Have it end within a moment. reason: as of Line.end."""
        self._ended = self._ended or reason

    @abstractmethod
    def close(self) -> None:
        """Stop counting the viewer. Twice is once."""

    @abstractmethod
    def may_see(self) -> bool:
        """Whether the viewer may still watch. May raise SQLAlchemyError or Abandoned, which change nothing."""

    @abstractmethod
    def next_frames(self) -> Sequence[bytes]:
        """What is to be shown next, waiting WAIT_SECONDS for it at most."""

    def quiet_frames(self) -> Sequence[bytes]:
        """What is sent with each heartbeat besides."""
        return ()

    def response(self) -> Response:
        """The response that shows the viewer what comes."""
        response = self._line.response(self._body())
        response.call_on_close(self.close)  # a generator that was never begun does not run its `finally`
        return response

    def _body(self) -> Iterator[bytes]:
        """It writes to the socket by itself, so that a viewer that stalls can be cut."""
        try:
            yield b""  # makes gunicorn send the headers
            self._line.begin()
            reason = self._serve()
        except OSError:  # gone, or stalled in the middle of a frame
            self._line.cut()
        else:
            self._line.end(reason)
        finally:
            self.close()

    def _serve(self) -> str:
        """Run until this side ends it; why. Raises OSError when the client leaves, or takes nothing."""
        while True:
            frames = self.next_frames()
            if self._beat.is_due(self._hub.clock()):
                frames = [*frames, self._line.heartbeat(), *self.quiet_frames()]
            for piece in self._line.pieces(frames):
                self._line.send(piece)
                if (reason := self._why_over()) is not None:
                    return reason
            if (reason := self._why_over()) is not None:
                return reason

    def _why_over(self) -> str | None:
        """Why the view ends now, if it does: as of Line.end. Raises OSError when the client has disconnected."""
        if self._hub.stopping:
            return "restart"
        if self._ended is not None:
            return self._ended
        now = self._hub.clock()
        if self._expires_at is not None and now >= self._expires_at:
            return "expired"
        if self._check.is_due(now) and not self._still_may_see():
            return "revoked"
        return self._line.look()

    def _still_may_see(self) -> bool:
        """Whether the viewer may still watch; a database that cannot be reached changes nothing."""
        try:
            return self.may_see()
        except (SQLAlchemyError, Abandoned):
            return True
