"""Server-sent events on the wire (WHATWG HTML section 9.2): LF only, exactly one data line.

The order in a frame is event, id, data, blank line: clients that read line by line need `event:` before `data:`.
"""

from __future__ import annotations

HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # otherwise nginx buffers frames
    ("Referrer-Policy", "no-referrer"),  # a token in the query must not leak in a Referer
    ("X-Content-Type-Options", "nosniff"),
)


def frame(event: str | None, id: str | None, data: bytes) -> bytes:
    """One frame. event and id come from allow-lists (no CR, LF, NUL); data is JSON on one line, never empty."""
    head = f"event: {event}\n" if event is not None else ""
    if id is not None:
        head += f"id: {id}\n"
    return b"%sdata: %s\n\n" % (head.encode(), data)


def comment(text: str, *, blank_line: bool) -> bytes:
    """A heartbeat: a comment line, followed by a blank line only where the contract says so.

    The blank line makes some clients emit an empty event, so by default there is none.
    """
    return f": {text}\n{chr(10) if blank_line else ''}".encode()


def retry(milliseconds: int) -> bytes:
    """A line that tells the client how long to wait before it reconnects."""
    return f"retry: {milliseconds}\n".encode()


def chunk(data: bytes) -> bytes:
    """`data` as one HTTP/1.1 chunk (RFC 9112 section 7.1). data must not be empty: an empty chunk ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)
