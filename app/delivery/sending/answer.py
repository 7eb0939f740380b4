"""What has come of the answer to one request, and how much of it we take."""

from __future__ import annotations

import re
from collections.abc import Callable

# Real answers are tiny. What is kept of a body is for a person who reads the delivery log; the rest, up to the cut, is
# read only so that the connection can be used again.
MAX_HEAD_BYTES = 64 * 1024
KEPT_BODY_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})\b")
_LONGEST_BLANK_LINE = 2


class Answer:
    """Grows line by line and then chunk by chunk, in libcurl's callbacks `on_line` and `on_chunk`. The lines of interim
    answers (1xx) and of trailers count as head."""

    def __init__(self, may_begin: Callable[[bytes], bool], on_head: Callable[[], None]) -> None:
        """may_begin: asked with the first line. on_head: told when the head is complete."""
        self._may_begin, self._on_head = may_begin, on_head
        self.clear()

    def clear(self) -> None:
        """Begin the next one."""
        self.status_code: int | None = None
        """Set when the head is complete: whatever follows, it decides."""
        self.headers: list[tuple[str, str]] = []
        self.is_http = True
        """Until a head begins with a line that is no status line."""
        self.body = bytearray()
        """The first 16 KiB."""
        self._lines: list[bytes] = []
        self._head_starts_at = 0
        self._head_bytes = 0
        self._body_bytes = 0

    @property
    def has_begun(self) -> bool:
        """Whether there was a line."""
        return bool(self._lines)

    @property
    def head_is_too_large(self) -> bool:
        """Whether there were more lines than we take."""
        return self._head_bytes > MAX_HEAD_BYTES

    @property
    def body_is_cut(self) -> bool:
        """Whether the body is longer than what we read of it."""
        return self._body_bytes > MAX_BODY_BYTES

    def header(self, name: str) -> str | None:
        """The first header of this name (lower case)."""
        for other, value in self.headers:
            if len(other) == len(name) and other.lower() == name:
                return value
        return None

    def on_line(self, line: bytes) -> int | None:
        """A line of a head or trailer, with its end. -1: no more."""
        if not self._lines and not self._may_begin(line):
            return -1
        self._lines.append(line)
        self._head_bytes += len(line)
        if len(line) <= _LONGEST_BLANK_LINE and self.status_code is None and not line.strip():
            self._read_head()
        return -1 if self._head_bytes > MAX_HEAD_BYTES else None

    def on_chunk(self, chunk: bytes) -> int | None:
        """A piece of the body. -1: no more."""
        self._body_bytes += len(chunk)
        if len(self.body) < KEPT_BODY_BYTES:
            self.body += chunk[: KEPT_BODY_BYTES - len(self.body)]
        return -1 if self._body_bytes > MAX_BODY_BYTES else None

    def _read_head(self) -> None:
        """Read the head that has just ended. An interim one (1xx) is followed by another."""
        lines = self._lines[self._head_starts_at :]
        self._head_starts_at = len(self._lines)
        match = _STATUS_LINE.match(lines[0])
        if match is None:
            self.is_http = False
        elif self.is_http and int(match[1]) >= 200:
            self.status_code = int(match[1])
            for line in lines[1:-1]:
                name, _, value = line.decode("latin-1").partition(":")
                self.headers.append((name, value.strip()))
            self._on_head()
