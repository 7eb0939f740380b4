"""The canonical envelope: the bytes that every webhook and every canonical stream frame carries.

    {"id":"evt_…","type":"call.barge_in","timestamp":"2026-11-20T10:00:00.123Z","workspace_id":"ws_…",
     "stream":{"kind":"call","id":"call_1"},"seq":42,"data":{…}}

(on one line). `data` comes last and holds the producer's own spelling, so that big integers, floats and key order
arrive as they were posted. An event with metadata has it before the data, as `"metadata":{…}`, spelled in the same way;
one that belongs to a trace has `"traceparent":"…"` behind its seq.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from app.core.wire import trace

_quoted = json.JSONEncoder(ensure_ascii=False).encode
# Cannot occur earlier: inside a JSON string the quotes would be escaped, and no value of the metadata is an object.
_DATA = b',"data":{'
_METADATA = b',"metadata":{'
_SEQ = re.compile(rb'\},"seq":[0-9]+')  # the first one: names of streams hold no quotes
_TRACE = b',"traceparent":"'


class Event(NamedTuple):
    """An accepted event as the live side carries it. body: the canonical envelope."""

    id: str
    seq: int
    type: str
    timestamp: str
    body: bytes


class Announcement(NamedTuple):
    """What the bus tells of a stream (its row id) after a commit.

    event None with ends: the stream was ended at `seq` without an event. event None without ends: the event at `seq`
    is too large for the bus and has to be read from PostgreSQL. epoch: of which history of the log it is.
    """

    stream: int
    seq: int
    event: Event | None
    ends: bool
    epoch: int = 0


def rfc3339(moment: datetime) -> str:
    """An aware datetime as RFC 3339 in UTC with milliseconds, such as 2026-11-20T10:00:00.123Z."""
    return _spelled(moment if moment.tzinfo is UTC else moment.astimezone(UTC))


@lru_cache(maxsize=64)  # a group's events have one time, which each of their answers tells
def _spelled(moment: datetime) -> str:
    """A time in UTC: in a zone, the two hours of a change of clocks are equal to Python."""
    return moment.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def encode(
    *,
    id: str,
    type: str,
    timestamp: str,
    workspace_id: str,
    kind: str,
    stream_id: str,
    seq: int,
    data: str,
    metadata: str = "",
    traceparent: str = "",
) -> bytes:
    """The envelope as UTF-8 bytes. data, metadata: JSON objects as compact text on one line, inserted unchanged.
    traceparent: of trace.read."""
    pieces = around(
        type=type,
        timestamp=timestamp,
        workspace_id=workspace_id,
        kind=kind,
        stream_id=stream_id,
        data=data,
        metadata=metadata,
        traceparent=traceparent,
    )
    return pieces.joined(id, "", seq)


class Pieces(NamedTuple):
    """An envelope without what is known only once its stream is locked: {"id":" id, head, time, middle, seq, tail."""

    head: bytes
    middle: bytes
    tail: bytes

    def joined(self, id: str, timestamp: str, seq: int) -> bytes:
        """The envelope's bytes. timestamp: "" when it is in the pieces already. SQL does the same (accept_events)."""
        return b'{"id":"%b%b%b%b%d%b' % (id.encode(), self.head, timestamp.encode(), self.middle, seq, self.tail)


def around(
    *,
    type: str,
    timestamp: str,
    workspace_id: str,
    kind: str,
    stream_id: str,
    data: str,
    metadata: str = "",
    traceparent: str = "",
) -> Pieces:
    """The pieces of an envelope. timestamp: "" when it is not known yet. data: a JSON object as compact text on one
    line; metadata: another, flat one, "" for none. traceparent: of trace.read."""
    noted = f',"traceparent":"{traceparent}"' if traceparent else ""
    noted += f',"metadata":{metadata}' if metadata else ""
    return Pieces(
        f'","type":{_string(type)},"timestamp":"'.encode(),
        f'{timestamp}","workspace_id":"{workspace_id}","stream":{{"kind":{_string(kind)},"id":{_string(stream_id)}}},'
        '"seq":'.encode(),
        f'{noted},"data":{data}}}'.encode(),
    )


def data_of(body: bytes) -> bytes:
    """The payload inside an envelope, in the producer's spelling."""
    return body[body.index(_DATA) + len(_DATA) - 1 : -1]


def metadata_of(body: bytes) -> bytes:
    """The metadata inside an envelope, in the producer's spelling; b"" for none."""
    head = body[: body.index(_DATA)]
    at = head.find(_METADATA)
    return b"" if at < 0 else head[at + len(_METADATA) - 1 :]


def traceparent_of(body: bytes) -> str:
    """The traceparent inside an envelope, "" for none."""
    seq = _SEQ.search(body)
    if seq is None or not body.startswith(_TRACE, seq.end()):
        return ""
    start = seq.end() + len(_TRACE)
    return body[start : start + trace.LETTERS].decode("ascii")


def string_value(data: Any, field: str) -> str | None:
    """A top-level string member of parsed data, or None."""
    value = data.get(field) if isinstance(data, dict) else None
    return value if isinstance(value, str) else None


def _string(text: str) -> str:
    return _quoted(text)
