"""An announcement as an entry of the bus, which is made of several Redis streams (shards)."""

from __future__ import annotations

from app.core.wire.envelope import Announcement, Event

MAX_BODY_BYTES = 8 * 1024  # larger events are announced by seq alone, so that the bus stays small in Redis' memory


def shard_key(stream: int, shards: int) -> str:
    """The Redis stream that announces events of this stream. Row ids are consecutive, so the rest is an even hash."""
    return f"bus:{stream % shards}"


def encode(announcement: Announcement) -> dict[bytes, bytes | int | str]:
    """The fields of a bus entry: s stream, q seq, e ends, h history (epoch; 0 is left out), and of the event i
    id, t type, a timestamp, b body."""
    fields: dict[bytes, bytes | int | str] = {b"s": announcement.stream, b"q": announcement.seq}
    if announcement.ends:
        fields[b"e"] = 1
    if announcement.epoch:
        fields[b"h"] = announcement.epoch
    event = announcement.event
    if event is not None and len(event.body) <= MAX_BODY_BYTES:
        fields |= {b"i": event.id, b"t": event.type, b"a": event.timestamp, b"b": event.body}
    return fields


def decode(fields: dict[bytes, bytes]) -> Announcement:
    """The announcement of a bus entry's fields. Raises KeyError or ValueError for an entry of another program."""
    stream, seq, body = int(fields[b"s"]), int(fields[b"q"]), fields.get(b"b")
    event = None
    if body is not None:
        # Subscribers are sent these bytes as they are: they must at least look like an envelope of this event.
        if not body.startswith(b'{"id":"%b",' % fields[b"i"]) or b',"data":{' not in body or body[-2:] != b"}}":
            raise ValueError("the body is no envelope")
        event = Event(fields[b"i"].decode(), seq, fields[b"t"].decode(), fields[b"a"].decode(), body)
    return Announcement(stream, seq, event, b"e" in fields, int(fields.get(b"h", 0)))
