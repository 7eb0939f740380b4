"""A black-box book-keeper: what was acknowledged, what each viewer saw, what each receiver got.

    books = Bookkeeper()
    receiver = books.receiver("customer", verify=Webhook(secret).verify)   # raises when a signature does not hold
    viewer = books.viewer("dashboard", ("call", "call_1"))
    books.posting(key, ("call", "call_1"), "call.dtmf", b'{"digit":"1"}')  # then POST, then
    books.acknowledged(key, answer["id"], answer["seq"])
    assert books.findings() == []

It knows the product only from outside. Every method may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from app.client.books import audit
from app.client.books.count import Count, count_receiver, count_viewer
from app.client.books.records import (
    Cut,
    Finding,
    Posted,
    Received,
    ReceiverLog,
    Seen,
    StreamName,
    ViewerLog,
    Wanted,
    compact,
    everything,
    stream_of,
)

Verify = Callable[[bytes, dict[str, str]], Any]
"""Takes a body and its headers; raises when the signature does not hold."""


class Bookkeeper:
    """The records of one run. clock: seconds that never run backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._posts: dict[str, Posted] = {}
        self._streams: set[StreamName] = set()
        self._viewers: list[Viewer] = []
        self._receivers: list[Receiver] = []

    def posting(self, key: str, stream: StreamName, type: str, data: bytes) -> None:
        """To be called just before each POST of an event; the time of the first one counts. data: raw JSON bytes."""
        with self._lock:
            self._streams.add(stream)
            if key not in self._posts:
                self._posts[key] = Posted(key, stream, type, compact(data), self._clock())

    def acknowledged(self, key: str, event_id: str, seq: int) -> None:
        """The server answered 2xx for this key. Another id or seq than the first time becomes a finding."""
        with self._lock:
            post = self._posts[key]
            if post.acknowledged_at is None:
                post.acknowledged_at, post.event_id, post.seq = self._clock(), event_id, seq
                if post.refused:
                    post.clashes.append(f"first refused ({post.refused}), then accepted as {event_id}")
            elif (post.event_id, post.seq) != (event_id, seq):
                post.clashes.append(f"first {post.event_id} seq {post.seq}, then {event_id} seq {seq}")

    def refused(self, key: str, reason: str) -> None:
        """The server answered that it will not take this event. It must never be seen anywhere."""
        with self._lock:
            self._posts[key].refused = reason or "refused"

    def viewer(self, name: str, stream: StreamName, *, after_seq: int = 0, wants: Wanted | None = None) -> Viewer:
        """A new viewer of one stream. wants: its filter; None: it takes every event from after_seq on."""
        viewer = Viewer(ViewerLog(name, stream, after_seq, wants), self._lock, self._clock)
        with self._lock:
            self._viewers.append(viewer)
        return viewer

    def receiver(self, name: str, verify: Verify, *, wants: Wanted = everything, shared: bool = False) -> Receiver:
        """A new receiver of webhooks. wants: which posted events its endpoint should get; shared: the endpoint also
        hears of streams that are not in these books, which are let pass (their signatures still have to hold)."""
        receiver = Receiver(ReceiverLog(name, wants), verify, self._lock, self._clock, self.knows if shared else None)
        with self._lock:
            self._receivers.append(receiver)
        return receiver

    def findings(self) -> list[Finding]:
        """All that is not as promised, as far as it can be known now. Ask again when nothing more is on its way."""
        with self._lock:
            known = audit.index(self._posts.values())
            found = list(audit.audit_posts(self._posts.values()))
            for viewer in self._viewers:
                found.extend(audit.audit_viewer(viewer.log, known).findings)
            for receiver in self._receivers:
                found.extend(audit.audit_receiver(receiver.log, known).findings)
            return found

    def counts(self) -> dict[str, Count]:
        """The figures of every viewer and receiver by name; those of one name are added up."""
        with self._lock:
            known = audit.index(self._posts.values())
            found: dict[str, Count] = {}
            for name, count in [
                *((viewer.log.name, count_viewer(viewer.log, known)) for viewer in self._viewers),
                *((receiver.log.name, count_receiver(receiver.log, known)) for receiver in self._receivers),
            ]:
                found[name] = found[name] + count if name in found else count
            return found

    def is_complete(self) -> bool:
        """Whether every acknowledged event is where it should be. Cheap enough to be asked again and again."""
        with self._lock:
            known = audit.index(self._posts.values())
            pages: list[Viewer | Receiver] = [*self._viewers, *self._receivers]
            return all(page.has_all(known) for page in pages)

    @property
    def acknowledged_count(self) -> int:
        """How many events were acknowledged up to now."""
        with self._lock:
            return sum(post.acknowledged_at is not None for post in self._posts.values())

    def posts(self) -> list[Posted]:
        """Every posted event, in the order of posting."""
        with self._lock:
            return list(self._posts.values())

    def knows(self, stream: StreamName) -> bool:
        """Whether an event of this stream was posted here."""
        with self._lock:
            return stream in self._streams


class Viewer:
    """One viewer's page in the books."""

    def __init__(self, log: ViewerLog, lock: threading.RLock, clock: Callable[[], float]) -> None:
        self.log = log
        self._lock = lock
        self._clock = clock
        self._places: set[int | str | None] = set()
        self._was_cut = False

    @property
    def arrived(self) -> int:
        """How many different events it saw."""
        return len(self._places)

    def has_all(self, known: audit.Index) -> bool:
        """Whether nothing acknowledged is missing here."""
        if self._was_cut:
            return not audit.audit_viewer(self.log, known).missing
        posts = (known.by_seq[self.log.stream, seq] for seq in audit.expected_seqs(self.log, known))
        return all(post.seq in self._places or post.event_id in self._places for post in posts)

    def saw(
        self,
        *,
        seq: int | None = None,
        event_id: str | None = None,
        type: str | None = None,
        data: bytes | None = None,
    ) -> None:
        """An event arrived; give what the frame says of it, seq or event_id at least. data: raw payload bytes."""
        with self._lock:
            self._places.add(event_id if seq is None else seq)
            self.log.entries.append(Seen(self._clock(), seq, event_id, type, data))

    def cut(self, reason: str) -> None:
        """What is missing up to the next event is not a fault: a drop was announced, or nothing is replayed here."""
        with self._lock:
            self._was_cut = True
            self.log.entries.append(Cut(reason))


class Receiver:
    """One receiver's page in the books."""

    def __init__(
        self,
        log: ReceiverLog,
        verify: Verify,
        lock: threading.RLock,
        clock: Callable[[], float],
        is_ours: Callable[[StreamName], bool] | None,
    ) -> None:
        self.log = log
        self._verify = verify
        self._lock = lock
        self._clock = clock
        self._is_ours = is_ours
        self._verified: set[str] = set()

    @property
    def arrived(self) -> int:
        """How many different events came with a signature that holds."""
        return len(self._verified)

    def has_all(self, known: audit.Index) -> bool:
        """Whether nothing acknowledged is missing here."""
        there = self._verified | self.log.excused.keys()
        return all(event_id in there for event_id, post in known.by_id.items() if self.log.wants(post))

    def got(self, headers: Mapping[str, str], body: bytes) -> bool:
        """A POST arrived. Whether its signature holds; write down either way, before answering it."""
        at = self._clock()
        lower = {name.lower(): value for name, value in headers.items()}
        fault = self._fault(lower, body)
        if self._is_ours is None or fault or self._is_ours(stream_of(body)):
            with self._lock:
                self.log.entries.append(Received(at, lower.get("webhook-id", ""), body, fault))
                if not fault:
                    self._verified.add(lower["webhook-id"])
        return not fault

    def excuse(self, event_id: str, reason: str) -> None:
        """The product's API names a terminal state and a reason for this event at this receiver."""
        with self._lock:
            self.log.excused[event_id] = reason

    def _fault(self, headers: dict[str, str], body: bytes) -> str:
        try:
            self._verify(body, headers)
        except Exception as error:  # whatever a verifier raises, it means no
            return f"{type(error).__name__}: {error}"
        return ""
