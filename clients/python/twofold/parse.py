"""Server-sent events out of bytes, as https://html.spec.whatwg.org/multipage/server-sent-events.html says.

Lines end at CR, LF or CRLF and at nothing else: `str.splitlines()` would also cut at U+2028 and U+0085,
which payloads may contain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream.

    type: the event's name, `message` when the frame names none; data: its `data:` lines joined by LF;
    id: the last `id:` seen so far, empty when there was none (it is what `Last-Event-ID` takes).
    """

    type: str
    data: str
    id: str


class EventParser:
    """Feed it bytes in pieces of any size; it yields the events that are complete.

    last_event_id and retry_ms (None until the server says one) follow what the server sent.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._rest = b""
        self._started = False
        self._after_cr = False  # the last piece ended in CR: an LF at the start of the next belongs to it
        self._id = last_event_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[StreamEvent]:
        """The events that `piece` completes, in order. What is still open waits for the next piece."""
        for line in self._lines(piece):
            event = self._take(line)
            if event is not None:
                yield event

    def _lines(self, piece: bytes) -> Iterator[str]:
        self._rest += piece
        if not self._started:
            if _BYTE_ORDER_MARK.startswith(self._rest):  # fewer than three bytes so far, or the mark and no more
                return
            self._started = True
            self._rest = self._rest.removeprefix(_BYTE_ORDER_MARK)
        if self._after_cr and self._rest:
            self._rest = self._rest.removeprefix(b"\n")
            self._after_cr = False
        at = 0
        for end in _LINE_END.finditer(self._rest):
            yield self._rest[at : end.start()].decode("utf-8", "replace")
            at = end.end()
        self._after_cr = at > 0 and at == len(self._rest) and self._rest.endswith(b"\r")
        self._rest = self._rest[at:]

    def _take(self, line: str) -> StreamEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._type = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None  # a comment begins with a colon, so its field name is empty

    def _dispatch(self) -> StreamEvent | None:
        self.last_event_id = self._id
        type, data = self._type or "message", self._data
        self._type, self._data = "", []
        return StreamEvent(type, "\n".join(data), self._id) if data else None
