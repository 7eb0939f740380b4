"""The hub: one per process. It follows the streams that somebody here watches, and fans their events out.

An event is encoded once per view and the same bytes are written straight to every subscriber's non-blocking socket.
Nothing in `extend` switches greenlets, so handing a batch to the live subscribers and moving `last_seq` is one step:
a subscriber that has read up to `last_seq` joins without a gap and without a repeat.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.core.contract.frames import View, encode
from app.core.problem import first_line
from app.core.wire.envelope import Announcement, Event
from app.live.subscriber import Frames, Subscriber

log = logging.getLogger(__name__)

RING_EVENTS = 256  # what a reconnect after a short cut finds without SQL
RING_BYTES = 256 * 1024
TICK_SECONDS = 0.25  # heartbeats, expiries and stalls are noticed this late at most
POLL_SECONDS = 1.0  # what the bus lost is found this late at most
CREDENTIAL_SECONDS = 5.0  # a revoked key or token closes its streams this late at most
STALL_SECONDS = 120.0  # a socket that takes nothing for so long is cut: its peer is gone or hopeless


class Head(Protocol):
    """How far a stream has come, as PostgreSQL tells."""

    @property
    def last_seq(self) -> int: ...
    @property
    def ended(self) -> bool: ...


class StreamSource(Protocol):
    """What the hub reads from PostgreSQL; each call is one short query."""

    def heads(self, stream_ids: Sequence[int]) -> Mapping[int, Head]: ...
    def events_after(self, after: Mapping[int, int]) -> Mapping[int, list[Event]]: ...
    def dead_credentials(self, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]: ...


class BusFollower(Protocol):
    """The part of the bus reader that the hub needs."""

    def follow(self, stream: int) -> None: ...
    def unfollow(self, stream: int) -> None: ...


@dataclass(eq=False)
class LiveStream:
    """A stream that somebody in this process watches. last_seq -1: not read yet."""

    id: int
    external_id: str
    last_seq: int = -1
    target: int = 0  # the highest seq that the bus has spoken of
    end_seq: int | None = None  # the stream's last seq, once it is known to have ended
    ring: deque[Event] = field(default_factory=deque)
    ring_bytes: int = 0
    joined: dict[View, set[Subscriber]] = field(default_factory=dict)
    subscribers: set[Subscriber] = field(default_factory=set)
    ready: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        """Whether the stream has ended and everything up to its end is here."""
        return self.end_seq is not None and self.last_seq >= self.end_seq

    def remember(self, event: Event) -> None:
        """Put an event into the ring, letting the oldest go."""
        self.ring.append(event)
        self.ring_bytes += len(event.body)
        while len(self.ring) > RING_EVENTS or (self.ring_bytes > RING_BYTES and len(self.ring) > 1):
            self.ring_bytes -= len(self.ring.popleft().body)

    def recent(self, after: int) -> list[Event] | None:
        """The events behind `after` from the ring, or None if it does not reach back that far."""
        if not self.ring or self.ring[0].seq > after + 1:
            return None
        return [event for event in self.ring if event.seq > after]


class Full(Exception):
    """As many connections are open as there may be. name: in which of the hub's counts."""

    def __init__(self, name: str) -> None:
        super().__init__("there are as many connections as there may be")
        self.name = name


class Hub:
    """All live streams of one process.

    reader: takes `on_batch` of this hub and gives back the follower; events: PostgreSQL; clock: monotonic seconds;
    observe: looks at the figures (open, frames_sent, frames_dropped, caught_up, holes) each second.
    """

    def __init__(
        self,
        reader: Callable[[Callable[[list[Announcement]], None]], BusFollower],
        events: StreamSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        observe: Callable[[Hub], None] = lambda hub: None,
    ) -> None:
        self._bus = reader(self.on_batch)
        self._log = events
        self.clock = clock
        self._observe = observe
        self._streams: dict[int, LiveStream] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self.open: Counter[str] = Counter()  # connections by key id, by workspace id, and of the process under ""
        self.frames_sent = 0
        self.frames_dropped = 0
        self.caught_up = 0
        self.holes = 0

    @property
    def stopping(self) -> bool:
        """Whether this process is ending: whoever serves a stream is to close it."""
        return self._stopping

    # --- who watches what -------------------------------------------------------------------------------------

    def attach(
        self,
        stream: int,
        external_id: str,
        subscriber: Subscriber,
        *,
        seq: int = 0,
        most: Mapping[str, int] | None = None,
    ) -> LiveStream:
        """Register a subscriber, not yet joined, and make sure that its stream is followed from here on.

        seq: the stream is known to have come so far, so it is read at least up to there. most: limits of `open`,
        held against other connections that open at this moment. Raises Full, LookupError if the stream has gone,
        ConnectionError if its head cannot be read now.
        """
        if self._stopping:
            subscriber.close("restart")  # let in by a connection that was kept alive: it is to come back elsewhere
        with self._lock:
            for name, number in (most or {}).items():
                if self.open[name] >= number:
                    raise Full(name)
            live = self._streams.get(stream)
            if first := live is None:
                live = self._streams[stream] = LiveStream(stream, external_id)
            live.subscribers.add(subscriber)
            self.open.update(("", subscriber.key_id, subscriber.workspace_id))
            self._start()
        try:
            if first:
                self._open(live)
            elif not live.ready.wait(timeout=10) or live.last_seq < 0:
                raise ConnectionError("the stream's head could not be read")
            self._reach(live, seq)
        except BaseException:
            self.detach(live, subscriber)
            raise
        return live

    def _open(self, live: LiveStream) -> None:
        try:
            self._bus.follow(live.id)  # before the head is read: what comes after the head is then on the bus
            head = self._log.heads([live.id]).get(live.id)
            if head is None:
                raise LookupError("the stream was deleted meanwhile")
            live.last_seq = head.last_seq
            if head.ended:
                live.end_seq = head.last_seq
        finally:
            live.ready.set()
        if live.target > live.last_seq:
            self.fill([live])

    def detach(self, live: LiveStream, subscriber: Subscriber) -> None:
        """Forget a subscriber; the last one takes its stream along."""
        with self._lock:
            self._leave(live, subscriber)
            if subscriber not in live.subscribers:
                return
            live.subscribers.discard(subscriber)
            self.open.subtract(("", subscriber.key_id, subscriber.workspace_id))
            self.open += Counter()  # forget the zeros
            self.frames_dropped += subscriber.take_dropped()
            if not live.subscribers and self._streams.get(live.id) is live:
                del self._streams[live.id]
                self._bus.unfollow(live.id)

    def join(self, live: LiveStream, subscriber: Subscriber) -> bool:
        """Let a subscriber that has read up to the head take part; False if there is more to read first."""
        if subscriber.cursor < live.last_seq:
            return False
        live.joined.setdefault(subscriber.view, set()).add(subscriber)
        subscriber.joined = True
        return True

    def _reach(self, live: LiveStream, seq: int) -> None:
        """Read on until the stream stands at `seq` or later: a subscriber knows of events that the bus has not told."""
        if live.last_seq < seq:
            live.target = max(live.target, seq)
            self.fill([live])

    def page(self, live: LiveStream, after: int) -> list[Event]:
        """The next events behind `after`, up to the head as it is known here: from the ring, else from SQL."""
        recent = live.recent(after)
        if recent is None:
            recent = self._log.events_after({live.id: after}).get(live.id, [])
        return [event for event in recent if event.seq <= live.last_seq]

    def subscribers(self) -> list[Subscriber]:
        """Everybody who is connected."""
        return [subscriber for live in list(self._streams.values()) for subscriber in list(live.subscribers)]

    # --- events come in ---------------------------------------------------------------------------------------

    def on_batch(self, announcements: Sequence[Announcement]) -> None:
        """Take what one read of the bus brought."""
        by_stream: dict[int, list[Announcement]] = {}
        for announcement in announcements:
            if announcement.stream in self._streams:
                by_stream.setdefault(announcement.stream, []).append(announcement)
        behind: list[LiveStream] = []
        for stream, group in by_stream.items():
            live = self._streams.get(stream)
            try:
                if live is not None and not self._take(live, group):
                    behind.append(live)
            except Exception:  # one stream's trouble is not its neighbours'; the poll reads it from SQL
                log.exception("hub: what the bus told of stream %s could not be handed on", stream)
        if behind:
            self.holes += len(behind)
            self.fill(behind)

    def _take(self, live: LiveStream, group: Sequence[Announcement]) -> bool:
        """Fan out what follows on; False if there is a hole to be read from SQL."""
        for announcement in group:
            live.target = max(live.target, announcement.seq)
            if announcement.ends:
                live.end_seq = announcement.seq
        if live.last_seq < 0:
            return True  # the head is being read; attach looks at the target then
        run: list[Event] = []
        for announcement in sorted(group, key=lambda part: part.seq):
            if announcement.event is not None and announcement.seq == live.last_seq + len(run) + 1:
                run.append(announcement.event)
        self.extend(live, run)
        return live.target <= live.last_seq

    def fill(self, lives: Iterable[LiveStream]) -> None:
        """Read holes from SQL until each stream has reached what the bus has spoken of."""
        behind = {live.id: live for live in lives if live.last_seq >= 0}
        while behind:
            pages = self._log.events_after({stream: live.last_seq for stream, live in behind.items()})
            for stream, live in list(behind.items()):
                before = live.last_seq
                try:
                    self.extend(live, pages.get(stream, []))
                except Exception:
                    log.exception("hub: events of stream %s could not be handed on", stream)
                if live.last_seq >= live.target or live.last_seq == before:
                    del behind[stream]

    def extend(self, live: LiveStream, events: Sequence[Event]) -> None:
        """Hand on the events that follow `last_seq` without a hole, to everybody who has joined. Never waits."""
        fresh: list[Event] = []
        for event in events:
            if event.seq == live.last_seq + len(fresh) + 1:
                fresh.append(event)
        if fresh:
            # All is encoded before anything is written: what cannot be encoded leaves everybody where they were.
            ready = [(group, _frames(live, view, fresh)) for view, group in live.joined.items()]
            live.last_seq = fresh[-1].seq
            for event in fresh:
                live.remember(event)
            for group, frames in ready:
                self._fan_out(live, group, frames)
        for subscriber in live.subscribers if live.ended else ():
            subscriber.attention.set()

    def _fan_out(self, live: LiveStream, group: set[Subscriber], frames: Frames) -> None:
        if not frames:
            return
        together = frames[0][1] if len(frames) == 1 else b"".join(data for _, data in frames)
        self.frames_sent += len(frames) * len(group)
        overflowed = [subscriber for subscriber in group if not subscriber.write(frames, together)]
        for subscriber in overflowed:
            self.caught_up += 1
            self._leave(live, subscriber)
            subscriber.attention.set()

    def _leave(self, live: LiveStream, subscriber: Subscriber) -> None:
        group = live.joined.get(subscriber.view)
        if group is not None:
            group.discard(subscriber)
            if not group:
                del live.joined[subscriber.view]
        subscriber.joined = False

    # --- time passes ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Send heartbeats that are due, close what has expired, cut what has stalled. now: monotonic seconds."""
        for subscriber in self.subscribers():
            subscriber.tick(now, STALL_SECONDS)
            self.frames_dropped += subscriber.take_dropped()

    def poll(self) -> None:
        """Find what the bus lost: one query for the heads of all live streams."""
        self._observe(self)
        known = [live for live in list(self._streams.values()) if live.last_seq >= 0]
        if not known:
            return
        heads = self._log.heads([live.id for live in known])
        behind: list[LiveStream] = []
        for live in known:
            head = heads.get(live.id)
            if head is None:  # the stream was deleted with its workspace
                self._close_all(live, "gone")
                continue
            if head.last_seq > live.last_seq:
                live.target = max(live.target, head.last_seq)
                behind.append(live)
            if head.ended and not live.ended:
                live.end_seq = head.last_seq
                self.extend(live, [])
        self.fill(behind)

    def check_credentials(self) -> None:
        """Close the streams whose key or token has been revoked."""
        subscribers = self.subscribers()
        keys = sorted({subscriber.key_id for subscriber in subscribers})
        tokens = sorted({subscriber.token_id for subscriber in subscribers if subscriber.token_id is not None})
        if not keys and not tokens:
            return
        dead = self._log.dead_credentials(keys, tokens)
        for subscriber in subscribers:
            if subscriber.key_id in dead or subscriber.token_id in dead:
                subscriber.close("revoked")

    def close_all(self, reason: str, over_seconds: float) -> None:
        """Close every stream in waves, so that the clients do not all come back in one moment."""
        self._stopping = True
        subscribers = self.subscribers()
        waves = max(1, min(20, len(subscribers) // 50))
        for wave in range(waves):
            for subscriber in subscribers[wave::waves]:
                subscriber.close(reason)
            if wave < waves - 1:
                threading.Event().wait(over_seconds / waves)

    def _close_all(self, live: LiveStream, reason: str) -> None:
        for subscriber in list(live.subscribers):
            subscriber.close(reason)

    def _start(self) -> None:
        if not self._threads:
            for name, seconds, step in (
                ("hub-tick", TICK_SECONDS, lambda: self.tick(self.clock())),
                ("hub-poll", POLL_SECONDS, self.poll),
                ("hub-credentials", CREDENTIAL_SECONDS, self.check_credentials),
            ):
                thread = threading.Thread(target=_repeat, args=(name, seconds, step), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()


def _frames(live: LiveStream, view: View, events: Sequence[Event]) -> Frames:
    """What a view shows of these events, ready for the socket."""
    return [(event.seq, encode(view, event, live.external_id)) for event in events if view.shows(event.type)]


def _repeat(name: str, seconds: float, step: Callable[[], None]) -> None:
    """Run a step again and again; an outage is logged once and does not end it."""
    broken = False
    while True:
        threading.Event().wait(seconds)
        try:
            step()
            broken = False
        except Exception as error:  # whatever happened, the next round must come
            if not broken:
                log.warning("%s: %s: %s", name, type(error).__name__, first_line(error))
            broken = True
