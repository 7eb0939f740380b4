"""The hub: one per process. It follows the streams that somebody here watches, and fans their events out.

An event is encoded once per view and the same bytes are written straight to every subscriber's non-blocking socket.
The bus announces events; what it loses, a poll finds in PostgreSQL. live_stream.py says how a stream takes events and
subscribers without a lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from app.core.wire.envelope import Announcement, Event
from app.live import rounds
from app.live.connections import ConnectionCounts, ConnectionLimits
from app.live.live_stream import LiveStream, Totals
from app.live.rounds import NoGreenletsError, Repeat
from app.live.stream_source import Head, StreamSource
from app.live.subscriber import Subscriber
from app.live.wheel import Wheel

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25  # stalls are noticed this late at most; heartbeats and expiries 0.5 s late (wheel.py)
POLL_SECONDS = 1.0  # what the bus lost is found this late at most
CREDENTIAL_SECONDS = 5.0  # a revoked key or token closes its streams this late at most
STALL_SECONDS = 120.0  # a socket that takes nothing for so long is cut: its peer is gone or stuck
HEAD_SECONDS = 10.0  # how long a second subscriber waits while the first one has the stream's head read
WAVES, WAVE_CONNECTIONS = 20, 50  # a process that ends closes its connections in so many waves, of so many or more


class BusFollower(Protocol):
    """The part of the bus reader that the hub needs."""

    def follow(self, stream: int) -> None: ...
    def unfollow(self, stream: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """Where the streams of a hub are, at one version of that: the seq up to which each was handed on, in the newest
    history that is known."""

    version: tuple[int, int]
    lives: Mapping[int, LiveStream]
    shown: Mapping[int, int]
    epoch: int


class Hub:
    """All live streams of one process.

    reader: takes `on_batch` of this hub and gives back the follower; source: PostgreSQL; clock: monotonic seconds;
    observe: looks at `connections` and `totals` each second; on_shown: gets the events that have just been handed on to
    those who watch, and must not wait; further: other rounds of this process, each with its name and seconds; repeat:
    runs a step again and again.
    """

    def __init__(
        self,
        reader: Callable[[Callable[[list[Announcement]], None]], BusFollower],
        source: StreamSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        observe: Callable[[Hub], None] = lambda hub: None,
        on_shown: Callable[[Sequence[Event]], None] = lambda events: None,
        further: Sequence[tuple[str, float, Callable[[], None]]] = (),
        repeat: Repeat = rounds.repeat,
    ) -> None:
        self.clock = clock
        self.connections = ConnectionCounts()
        self.totals = Totals()
        self._bus = reader(self.on_batch)
        self._source = source
        self._observe, self._on_shown = observe, on_shown
        self._shown: list[Event] = []  # of the present batch
        self._further = further
        self._repeat = repeat
        self._streams: dict[int, LiveStream] = {}
        self._changes = 0  # of these and of where they begin
        self._known: Known | None = None
        self._ending: set[LiveStream] = set()  # of which an end is known, so that the time counts
        self._wheel = Wheel()
        self._laggards: set[Subscriber] = set()  # for whose sockets something waits
        self._lock = threading.Lock()
        self._somebody = threading.Event()  # set while anybody is connected
        self._started = False
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether this process is ending, so that every stream has to be closed."""
        return self._stopping

    # --- who watches what -------------------------------------------------------------------------------------

    def attach(
        self,
        stream: int,
        external_id: str,
        subscriber: Subscriber,
        *,
        seq: int = 0,
        epoch: int = 0,
        limits: ConnectionLimits | None = None,
    ) -> LiveStream:
        """Register a subscriber, not yet joined, and make sure that its stream is followed from here on.

        seq: the stream is known to have come so far, so it is read at least up to there; epoch: in this history, so it
        begins anew if it is read from an earlier one. limits: checked here once
        more, because other connections open at this moment, too. Raises Full, LookupError if the stream has gone,
        ConnectionError if its head cannot be read now, RuntimeError where threads are no greenlets.
        """
        if self._stopping:
            subscriber.close("restart")  # it came over a connection that was kept alive; it should come back elsewhere
        former = self._streams.get(stream)
        if former is not None and former.last_seq >= 0 and former.epoch < epoch:
            self._set_back(former, seq)
        with self._lock:
            self._start()
            if limits is not None:
                self.connections.check(subscriber.workspace_id, subscriber.key_id, limits)
            live = self._streams.get(stream)
            if first := live is None:
                live = self._streams[stream] = LiveStream(stream, external_id, self.totals, on_shown=self._shown.extend)
            self._changes += first
            live.subscribers.add(subscriber)
            subscriber.lag_among(self._laggards)
            self._wheel.add(subscriber)
            self._count(subscriber.workspace_id, subscriber.key_id)
        try:
            if first:
                self._open(live)
            elif not live.ready.wait(timeout=HEAD_SECONDS) or live.last_seq < 0:
                raise ConnectionError("the stream's head could not be read")
            self._reach(live, seq)
        except BaseException:
            self.detach(live, subscriber)
            raise
        return live

    def _open(self, live: LiveStream) -> None:
        try:
            self._bus.follow(live.id)  # before the head is read, so that everything after the head comes over the bus
            head = self._source.heads([live.id]).get(live.id)
            if head is None:
                raise LookupError("the stream was deleted meanwhile")
            live.last_seq, live.epoch = head.last_seq, head.epoch
            self._changes += 1
            self._note_end(live, head)
        finally:
            live.ready.set()
        if live.target > live.last_seq:
            self.fill([live])

    def _note_end(self, live: LiveStream, head: Head) -> None:
        live.late_came = live.late_came or head.late_came
        if head.ended:
            live.end(head.last_seq, self.clock() - head.ended_seconds)
            self._ending.add(live)

    def _reach(self, live: LiveStream, seq: int) -> None:
        """Read on until the stream is at `seq` or later: a subscriber may know of events that the bus has not told."""
        if live.last_seq < seq:
            live.target = max(live.target, seq)
            self.fill([live])

    def detach(self, live: LiveStream, subscriber: Subscriber) -> None:
        """Forget a subscriber, and with the last one its stream. May be called twice."""
        with self._lock:
            live.leave(subscriber)
            if subscriber not in live.subscribers:
                return
            live.subscribers.discard(subscriber)
            self._wheel.discard(subscriber)
            self._laggards.discard(subscriber)
            self._uncount(subscriber.workspace_id, subscriber.key_id)
            self.totals.frames_dropped += subscriber.take_dropped()
            if not live.subscribers and self._streams.get(live.id) is live:
                del self._streams[live.id]
                self._changes += 1
                self._bus.unfollow(live.id)

    def enter(self, workspace_id: str, key_id: str, limits: ConnectionLimits) -> None:
        """Count somebody who waits for events of the feed, which is none of these streams. Raises Full."""
        with self._lock:
            with suppress(NoGreenletsError):  # of whom nothing but the figures would be told
                self._start()
            self.connections.check(workspace_id, key_id, limits)
            self._count(workspace_id, key_id)

    def leave(self, workspace_id: str, key_id: str) -> None:
        """Undo one enter()."""
        with self._lock:
            self._uncount(workspace_id, key_id)

    def _count(self, workspace_id: str, key_id: str) -> None:
        self.connections.add(workspace_id, key_id)
        self._somebody.set()

    def _uncount(self, workspace_id: str, key_id: str) -> None:
        self.connections.remove(workspace_id, key_id)
        if not self.connections.process:
            self._somebody.clear()

    def page(self, live: LiveStream, after: int) -> list[Event]:
        """The next events after a seq, up to the head as it is known here: from the ring, else from SQL."""
        events = live.recent(after)
        if events is None:
            events = self._source.events_after({live.id: after}).get(live.id, [])
        return [event for event in events if event.seq <= live.last_seq]

    def watching(self) -> list[tuple[LiveStream, Subscriber]]:
        """Everybody who is connected, each with the stream."""
        return [(live, subscriber) for live in list(self._streams.values()) for subscriber in list(live.subscribers)]

    def subscribers(self) -> list[Subscriber]:
        """Everybody who is connected."""
        return [subscriber for _, subscriber in self.watching()]

    # --- events come in ---------------------------------------------------------------------------------------

    def on_batch(self, announcements: Sequence[Announcement]) -> None:
        """Hand on the announcements of one read of the bus."""
        by_stream: dict[int, list[Announcement]] = {}
        for announcement in announcements:
            if announcement.stream in self._streams:
                by_stream.setdefault(announcement.stream, []).append(announcement)
        behind: list[LiveStream] = []
        for stream, group in by_stream.items():
            live = self._streams.get(stream)
            try:
                if live is not None and not live.hear(group, self.clock()):
                    behind.append(live)
                if live is not None and live.end_seq is not None:
                    self._ending.add(live)
            except Exception:  # the other streams go on; the poll reads this one from SQL
                log.exception("hub: what the bus told of stream %s could not be handed on", stream)
        self.totals.holes += len(behind)
        self.fill(behind)

    def _tell_shown(self) -> None:
        """Tell together what was handed on: to time each event alone costs as much as to hand it on."""
        if self._shown:
            shown = self._shown.copy()
            self._shown.clear()
            self._on_shown(shown)

    def fill(self, lives: Iterable[LiveStream]) -> None:
        """Read holes from SQL until each stream has reached the highest seq that was announced."""
        behind = {live.id: live for live in lives if live.last_seq >= 0}
        try:
            while behind:
                pages = self._source.events_after({stream: live.last_seq for stream, live in behind.items()})
                for stream, live in list(behind.items()):
                    before = live.last_seq
                    try:
                        live.extend(pages.get(stream, []))
                    except Exception:
                        log.exception("hub: events of stream %s could not be handed on", stream)
                    if live.last_seq >= live.target or live.last_seq == before:
                        del behind[stream]
        finally:
            self._tell_shown()

    # --- time passes ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Send heartbeats that are due, close what has expired, cut what has stalled, and wake who has waited long
        enough for what may follow an end. now: monotonic seconds."""
        for subscriber in self._wheel.due(now):
            _tick(subscriber, now)
        for subscriber in list(self._laggards):
            _tick(subscriber, now)
            self.totals.frames_dropped += subscriber.take_dropped()
            if not subscriber.outbox:
                self._laggards.discard(subscriber)
        self._ending = {live for live in self._ending if live.subscribers}
        for live in self._ending:
            for subscriber in live.subscribers:
                if live.over(subscriber.linger_seconds, now):
                    subscriber.attention.set()

    def poll(self) -> None:
        """Find what the bus lost: one query for all live streams, which answers those that have moved."""
        self._observe(self)
        known = self._all_known()
        if not known.lives:
            return
        shown = known.shown
        behind: list[LiveStream] = []
        for stream, head in self._source.moved(shown, known.epoch).items():
            live = known.lives[stream]
            if head is None:  # the stream was deleted with its workspace
                live.close("gone")
                continue
            if head.last_seq < shown[stream] or head.epoch != live.epoch:
                self._set_back(live, head.last_seq)
                continue
            if head.last_seq > live.last_seq:
                live.target = max(live.target, head.last_seq)
                behind.append(live)
            ended = live.ended
            self._note_end(live, head)
            if live.ended and not ended:
                live.extend([])
        self.fill(behind)

    def _all_known(self) -> Known:
        """All streams that are open, and where they are; the same object as long as nothing happens."""
        version = (self._changes, self.totals.moved)
        if self._known is None or self._known.version != version:
            lives = {stream: live for stream, live in self._streams.items() if live.last_seq >= 0}
            epoch = max((live.epoch for live in lives.values()), default=0)
            # One that is read from an earlier history is elsewhere wherever it stands: no stream is at -1.
            shown = {stream: live.last_seq if live.epoch == epoch else -1 for stream, live in lives.items()}
            self._known = Known(version, lives, shown, epoch)
        return self._known

    def _set_back(self, live: LiveStream, head: int) -> None:
        """Cut everybody from a stream whose history has ended, or that has fewer events than were shown: PostgreSQL was
        restored or replaced.

        They come back with cursors, and are told if those are of a future that was lost. For whoever comes now the
        stream begins anew: this one would take the next events for repeats.
        """
        log.warning("hub: stream %s begins anew: it is at seq %s, and %s was shown", live.id, head, live.last_seq)
        with self._lock:
            if self._streams.get(live.id) is live:
                del self._streams[live.id]
                self._changes += 1
                self._bus.unfollow(live.id)
        for subscriber in list(live.subscribers):
            subscriber.fail()

    def check_credentials(self) -> None:
        """Close the streams whose key or token has been revoked."""
        keys = sorted(self.connections.by_key)
        tokens = {one.token_id for live in self._streams.values() for one in live.subscribers}
        if not keys:
            return
        dead = self._source.dead_credentials(keys, sorted(token for token in tokens if token is not None))
        for subscriber in self.subscribers() if dead else ():
            if subscriber.key_id in dead or subscriber.token_id in dead:
                subscriber.close("revoked")

    def close_all(self, reason: str, over_seconds: float) -> None:
        """Close every stream in waves, so that the clients do not all come back at once."""
        self._stopping = True
        subscribers = self.subscribers()
        waves = max(1, min(WAVES, len(subscribers) // WAVE_CONNECTIONS))
        for wave in range(waves):
            for subscriber in subscribers[wave::waves]:
                subscriber.close(reason)
            if wave < waves - 1:
                threading.Event().wait(over_seconds / waves)

    def _start(self) -> None:
        """Begin the rounds with the first subscriber, which is after any fork."""
        if self._started:
            return
        self._repeat("hub-tick", TICK_SECONDS, self._while_watched(lambda: self.tick(self.clock())))
        self._repeat("hub-poll", POLL_SECONDS, self._while_watched(self.poll))
        self._repeat("hub-credentials", CREDENTIAL_SECONDS, self._while_watched(self.check_credentials))
        for name, seconds, step in self._further:
            self._repeat(name, seconds, self._while_watched(step))
        self._started = True

    def _while_watched(self, step: Callable[[], None]) -> Callable[[], None]:
        """The step, which is done once more after the last one has left, and then waits for somebody to come."""

        def once() -> None:
            is_watched = self._somebody.is_set()
            try:
                step()
            finally:
                if not is_watched:
                    self._somebody.wait()

        return once


def _tick(subscriber: Subscriber, now: float) -> None:
    """One look at a subscriber; the others are looked at whatever it raises."""
    try:
        subscriber.tick(now, STALL_SECONDS)
    except Exception:
        log.exception("hub: subscriber %s could not be looked after", subscriber.number)
        subscriber.fail()
