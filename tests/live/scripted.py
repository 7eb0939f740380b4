"""What the tests of the live side are made of: scripted sockets, subscribers, and a log in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.core.contract.frames import View
from app.core.contract.model import FrameForm
from app.core.wire import envelope
from app.core.wire.envelope import Announcement, Event
from app.live.hub import Hub
from app.live.live_stream import LiveStream
from app.live.stream_source import Head
from app.live.subscriber import Subscriber, Terms

VIEW = View(FrameForm(event=False, id=True, data="payload"), "raw", None, None, ())
HEARTBEAT = b": keepalive\n"
EVERYTHING = 2**30


@dataclass
class ScriptedSocket:
    """A non-blocking socket. room: how many bytes it still takes before it refuses; broken: its peer has gone."""

    room: int = EVERYTHING
    broken: bool = False
    taken: bytearray = field(default_factory=bytearray)

    def send(self, data: bytes, flags: int = 0, /) -> int:
        if self.broken:
            raise ConnectionResetError
        if not self.room:
            raise BlockingIOError
        part = data[: self.room]
        self.room -= len(part)
        self.taken += part
        return len(part)


def event(seq: int, type: str = "note", data: str | None = None, stream_id: str = "call_1") -> Event:
    body = envelope.encode(
        id=f"evt_{seq}",
        type=type,
        timestamp="2026-11-20T10:00:00.123Z",
        workspace_id="ws_1",
        kind="call",
        stream_id=stream_id,
        seq=seq,
        data=f'{{"n":{seq}}}' if data is None else data,
    )
    return Event(f"evt_{seq}", seq, type, "2026-11-20T10:00:00.123Z", body)


def frame(seq: int) -> bytes:
    """What VIEW makes of event(seq)."""
    return b'id: %d\ndata: {"n":%d}\n\n' % (seq, seq)


def frames(first: int, last: int) -> bytes:
    return b"".join(frame(seq) for seq in range(first, last + 1))


def told(
    seq: int, *, stream: int = 1, ends: bool = False, too_large: bool = False, bare: bool = False, epoch: int = 0
) -> Announcement:
    """What the bus says of an event; bare: of an end without one."""
    return Announcement(stream, seq, None if too_large or bare else event(seq), ends, epoch)


def terms(
    *,
    drop: bool = False,
    bound: int = 4,
    heartbeat_seconds: int = 15,
    expires_at: float | None = None,
    key_id: str = "key_1",
    token_id: str | None = None,
    workspace_id: str = "ws_1",
    linger_seconds: int = 0,
) -> Terms:
    terms = (drop, bound, HEARTBEAT, heartbeat_seconds, expires_at, key_id, token_id, workspace_id)
    return Terms(*terms, linger_seconds=linger_seconds)


def subscriber(
    sock: ScriptedSocket | None = None, view: View = VIEW, now: float = 0.0, **promised: object
) -> Subscriber:
    made = Subscriber(sock or ScriptedSocket(), view, terms(**promised), 0.0)  # type: ignore[arg-type]
    made.started = True
    return made


@dataclass
class MemoryLog:
    """PostgreSQL as the hub sees it. late: streams that have an event which may follow the end. reads: what was asked
    for behind which seq."""

    events: dict[int, list[Event]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    ended_seconds: float = 0.0
    late: set[int] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    page: int = 200
    epoch: int = 0
    away: bool = False
    reads: list[dict[int, int]] = field(default_factory=list)

    def append(self, stream: int, *events: Event) -> None:
        self.events.setdefault(stream, []).extend(events)

    def heads(self, stream_ids: Sequence[int]) -> Mapping[int, Head]:
        self._answer()
        return {
            stream: Head(
                max((one.seq for one in self.events[stream]), default=0),
                stream in self.ended,
                self.ended_seconds,
                stream in self.late,
                self.epoch,
            )
            for stream in stream_ids
            if stream in self.events
        }

    def moved(self, known: Mapping[int, int], epoch: int) -> Mapping[int, Head | None]:
        heads = self.heads(list(known))
        found = {stream: heads.get(stream) for stream in known}
        return {
            stream: head
            for stream, head in found.items()
            if head is None or head.last_seq != known[stream] or head.ended or head.epoch != epoch
        }

    def events_after(self, after: Mapping[int, int]) -> Mapping[int, list[Event]]:
        self._answer()
        self.reads.append(dict(after))
        return {
            stream: [one for one in self.events.get(stream, []) if one.seq > seq][: self.page]
            for stream, seq in after.items()
        }

    def dead_credentials(self, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]:
        self._answer()
        return self.dead & {*key_ids, *token_ids}

    def _answer(self) -> None:
        if self.away:
            raise ConnectionError("the database is away")


@dataclass
class Followed:
    """The bus reader as the hub sees it: what is followed, in the order of asking."""

    streams: list[int] = field(default_factory=list)

    def follow(self, stream: int) -> None:
        self.streams.append(stream)

    def unfollow(self, stream: int) -> None:
        self.streams.remove(stream)


@dataclass
class ReaderOfFeed:
    """A reader of the feed as the census sees it. ended: why, each time that it was ended."""

    workspace_id: str = "ws_1"
    transport: str = "WebSocket"
    lag: tuple[int, bool] = (7, True)
    expires_at: float | None = 55.0
    ended: list[str] = field(default_factory=list)

    def end(self, reason: str) -> None:
        self.ended.append(reason)


@dataclass
class World:
    """A hub over a log in memory, whose clock and steps the test moves by itself."""

    log: MemoryLog = field(default_factory=MemoryLog)
    bus: Followed = field(default_factory=Followed)
    now: float = 0.0
    hub: Hub = field(init=False)

    def __post_init__(self) -> None:
        # Without its rounds: tick, poll and check_credentials are called by the test.
        self.hub = Hub(
            lambda on_batch: self.bus, self.log, clock=lambda: self.now, repeat=lambda name, seconds, step: None
        )

    def stream(self, events: int = 0, stream: int = 1) -> None:
        """Make a stream that has so many events."""
        self.log.append(stream, *(event(seq) for seq in range(1, events + 1)))

    def commit(self, *seqs: int, stream: int = 1) -> None:
        """Put events into the log without announcing them."""
        self.log.append(stream, *(event(seq) for seq in seqs))

    def watch(self, one: Subscriber, stream: int = 1, cursor: int | None = None) -> LiveStream:
        """Attach a subscriber and, when it stands at the head, join it."""
        live = self.hub.attach(stream, "call_1", one)
        one.cursor = live.last_seq if cursor is None else cursor
        live.join(one)
        return live
