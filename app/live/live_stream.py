"""A stream that somebody in this process watches: how far it has come, its recent events, and who sees it live.

The one property that all of the live side rests on is here. `extend` hands events to everybody who has joined and moves
`last_seq`, and nothing in between lets another greenlet run. So a subscriber that has read up to `last_seq` joins
without a gap and without a repeat, and no lock is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.core.contract.frames import View, encode
from app.core.wire.envelope import Announcement, Event
from app.live.subscriber import Frames, Subscriber

RING_EVENTS = 256  # so that a client that reconnects soon is served without SQL
RING_BYTES = 256 * 1024


@dataclass(slots=True)
class Totals:
    """What a hub has done since its process began."""

    moved: int = 0  # times that a stream has come further
    frames_sent: int = 0
    frames_dropped: int = 0  # where the contract drops what a slow subscriber does not take
    caught_up: int = 0  # slow subscribers sent back to the log, where the contract catches up
    holes: int = 0  # times that the bus had lost something and the log was read


@dataclass(eq=False, slots=True)
class LiveStream:
    """last_seq: up to where its events were handed on; -1 while the head has not been read."""

    id: int
    external_id: str
    totals: Totals
    last_seq: int = -1
    epoch: int = 0  # the history that it is read from; when there is another, the stream is opened anew
    target: int = 0  # the highest seq that the bus has announced
    end_seq: int | None = None  # the stream's last seq at its end, once it is known to have ended
    ended_at: float = 0.0  # when that was, in the hub's monotonic seconds
    late_came: bool = (
        False  # whether an event that may follow the end is known to have come, before the end or behind it
    )
    ring: list[Event] = field(default_factory=list)  # a deque takes 600 bytes when it is empty
    ring_bytes: int = 0
    joined: dict[View, set[Subscriber]] = field(default_factory=dict)  # who sees it live, by view
    on_shown: Callable[[Sequence[Event]], None] = lambda events: None  # gets what was handed on, to be timed
    subscribers: set[Subscriber] = field(default_factory=set)  # all of them, also those that still read the past
    ready: threading.Event = field(default_factory=threading.Event)  # set when the head was read, or could not be

    @property
    def ended(self) -> bool:
        """Whether the stream has ended and everything up to its end is here."""
        return self.end_seq is not None and self.last_seq >= self.end_seq

    def over(self, linger_seconds: float, now: float) -> bool:
        """Whether nothing more is waited for: the stream has ended, and as much time has passed, or an event that may
        follow the end has come.

        now: the hub's monotonic seconds.
        """
        if self.end_seq is None or self.last_seq < self.end_seq:
            return False
        return self.late_came or self.last_seq > self.end_seq or now >= self.ended_at + linger_seconds

    def end(self, seq: int, at: float) -> None:
        """Take note of the end. It does not move: who tells of it again may know of more events."""
        if self.end_seq is None:
            self.end_seq, self.ended_at = seq, at

    def recent(self, after: int) -> list[Event] | None:
        """The events after a seq from the ring; None if the ring does not reach back that far."""
        if not self.ring or self.ring[0].seq > after + 1:
            return None
        return [event for event in self.ring if event.seq > after]

    def join(self, subscriber: Subscriber) -> bool:
        """Show events live to a subscriber that has read up to the head; False if there is more to read first."""
        if subscriber.cursor < self.last_seq:
            return False
        self.joined.setdefault(subscriber.view, set()).add(subscriber)
        subscriber.joined = True
        return True

    def leave(self, subscriber: Subscriber) -> None:
        """Undo join(), if it had joined."""
        group = self.joined.get(subscriber.view)
        if group is not None:
            group.discard(subscriber)
            if not group:
                del self.joined[subscriber.view]
        subscriber.joined = False

    def hear(self, announcements: Sequence[Announcement], now: float) -> bool:
        """Hand on what the bus announced of this stream; False if there is a hole to be read from the log.

        now: the hub's monotonic seconds.
        """
        if self.last_seq >= 0:
            announcements = [one for one in announcements if one.epoch == self.epoch]  # else the log is asked
        for announcement in announcements:
            self.target = max(self.target, announcement.seq)
            if announcement.ends:
                self.end(announcement.seq, now)
        if self.last_seq < 0:
            return True  # the head is being read; the hub looks at the target afterwards
        run: list[Event] = []
        for announcement in sorted(announcements, key=lambda one: one.seq):
            if announcement.event is not None and announcement.seq == self.last_seq + len(run) + 1:
                run.append(announcement.event)
        self.extend(run)
        return self.target <= self.last_seq

    def extend(self, events: Sequence[Event]) -> None:
        """Hand on the events that follow `last_seq` without a hole, to everybody who has joined. Never waits."""
        fresh: list[Event] = []
        for event in events:
            if event.seq == self.last_seq + len(fresh) + 1:
                fresh.append(event)
        if fresh:
            # All is encoded before anything is written: an event that cannot be encoded changes nothing for anybody.
            encoded = [(group, self._frames(view, fresh)) for view, group in self.joined.items()]
            self.last_seq = fresh[-1].seq
            self.totals.moved += 1
            for event in fresh:
                self._remember(event)
            for group, frames in encoded:
                self._fan_out(group, frames)
            if encoded:
                self.on_shown(fresh)
        for subscriber in self.subscribers if self.ended else ():
            subscriber.attention.set()

    def close(self, reason: str) -> None:
        """Ask every subscriber's connection to end."""
        for subscriber in list(self.subscribers):
            subscriber.close(reason)

    def _remember(self, event: Event) -> None:
        """Put an event into the ring; the oldest ones make room, the newest always stays."""
        self.ring.append(event)
        self.ring_bytes += len(event.body)
        while len(self.ring) > RING_EVENTS or (self.ring_bytes > RING_BYTES and len(self.ring) > 1):
            self.ring_bytes -= len(self.ring.pop(0).body)

    def _frames(self, view: View, events: Sequence[Event]) -> Frames:
        """What a view shows of these events, ready for the socket."""
        return [
            (event.seq, encode(view, event, self.external_id, self.epoch)) for event in events if view.shows(event.type)
        ]

    def _fan_out(self, group: set[Subscriber], frames: Frames) -> None:
        if not frames:
            return
        together = frames[0][1] if len(frames) == 1 else b"".join(data for _, data in frames)
        self.totals.frames_sent += len(frames) * len(group)
        overflowed = [subscriber for subscriber in group if not subscriber.write(frames, together)]
        for subscriber in overflowed:
            self.totals.caught_up += 1
            self.leave(subscriber)
            subscriber.attention.set()
