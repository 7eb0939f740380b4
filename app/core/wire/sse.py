"""Server-sent events on the wire (WHATWG HTML section 9.2): one table of bytes, LF only, one data line.

Wire order in a frame is event, id, data, blank line: the line reader of the session document needs `event:` first.
"""

from __future__ import annotations

HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # nginx would collect frames otherwise
    ("Referrer-Policy", "no-referrer"),  # a token in the query must not leave with a Referer
    ("X-Content-Type-Options", "nosniff"),
)


def frame(event: str | None, id: str | None, data: bytes) -> bytes:
    """One frame. event and id come from allow-lists (no CR, LF, NUL); data is JSON on one line, never empty."""
    head = f"event: {event}\n" if event is not None else ""
    if id is not None:
        head += f"id: {id}\n"
    return b"%sdata: %s\n\n" % (head.encode(), data)


def comment(text: str, *, blank_line: bool) -> bytes:
    """A heartbeat: a comment line, with an empty line behind it only where the contract says so.

    A lone blank line makes some clients emit an empty event, so the default of every contract is without.
    """
    return f": {text}\n{chr(10) if blank_line else ''}".encode()


def retry(milliseconds: int) -> bytes:
    """Tells the client how long to wait before it reconnects."""
    return f"retry: {milliseconds}\n".encode()


def chunk(data: bytes) -> bytes:
    """`data` as one HTTP/1.1 chunk (RFC 9112 section 7.1). data must not be empty: an empty chunk ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)
