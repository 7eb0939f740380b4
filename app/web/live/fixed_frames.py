"""The frames of a stream that are no events: what its contract sends at the opening, at the end and in quiet times."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime

from app.core import ids
from app.core.contract import frames
from app.core.contract.frames import View
from app.core.contract.model import ContractRoute, Fixed
from app.core.wire import sse, websocket
from app.core.wire.envelope import rfc3339
from app.ledger.streams import StreamRow

# After a restart clients come back spread over this time: each is told another one.
RECONNECT_MILLISECONDS = (1000, 5000)


def fixed_frame(fixed: Fixed | None, view: View, stream: StreamRow, id: str | None = None) -> bytes:
    """A contract's opening, closing or reset frame, ready for the socket; empty if it has none."""
    if fixed is None:
        return b""
    now = datetime.now(UTC)
    values = {
        "new_id": ids.make(ids.EVENT, now, os.urandom(ids.RANDOM_BYTES)),
        "now": rfc3339(now),
        "stream_id": stream.external_id,
        "last_seq": stream.last_seq,
    }
    return frames.encode_fixed(view, fixed, id, values)


def retry(route: ContractRoute, view: View) -> bytes:
    """How long the client is to wait before it comes back, where the contract says so: another time for each."""
    if not route.retry or view.wrap == "ws":
        return b""
    return frames.wrap(view.wrap, sse.retry(random.randint(*RECONNECT_MILLISECONDS)))


def heartbeat(route: ContractRoute, view: View) -> bytes:
    """What keeps a quiet connection alive: a comment line, or on a WebSocket a ping."""
    if view.wrap == "ws":
        return websocket.frame(websocket.PING, b"")
    return frames.wrap(view.wrap, sse.comment(route.heartbeat, blank_line=route.heartbeat_blank_line))
