"""WebSocket frames that the server sends (RFC 6455 section 5.2): unmasked, final, encoded once for all subscribers."""

from __future__ import annotations

import struct

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_FINAL = 0x80


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame with this opcode. Control frames carry at most 125 bytes (section 5.5)."""
    size = len(payload)
    if size < 126:
        return bytes((_FINAL | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", _FINAL | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FINAL | opcode, 127, size) + payload


def text_frame(payload: bytes) -> bytes:
    """A text frame; payload is UTF-8."""
    return frame(TEXT, payload)


def close_frame(code: int, reason: str) -> bytes:
    """A close frame with a status code (section 7.4) and a reason, cut to what a control frame holds."""
    whole = reason.encode()[:123].decode(errors="ignore")  # not in the middle of a character: it must be UTF-8
    return frame(CLOSE, struct.pack("!H", code) + whole.encode())
