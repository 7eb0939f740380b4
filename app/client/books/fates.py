"""What became of each post, by the journals of its producers and by what was seen of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from app.client.books.journal import JournalError

Fate = Literal["ok", "fail", "unknown"]
# A better answer to the same key outranks a worse one: an idempotent repeat tells what became of the first POST.
_RANK: dict[Fate, int] = {"fail": 0, "unknown": 1, "ok": 2}

_ANSWERS = "acknowledgments"

Find = Callable[[str, str, str, str], None]
"""Reports one violation: its kind, where it was seen, of what, and the details."""


@dataclass(slots=True)
class Post:
    """One posted event. fate: None while nothing is known of any POST of it. event_id, seq: its place, once known.

    open: POSTs of it without an answer yet. after_seq: what the same producer knew to be in the stream before the
    first POST of it. body: the fingerprint of its webhook, once one has come.
    """

    key: str
    stream: str
    print: str
    after_seq: int
    fate: Fate | None = None
    open: int = 0
    event_id: str = ""
    seq: int = 0
    body: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether it is known to be in its stream: it was acknowledged, or somebody saw it."""
        return self.event_id != ""


@dataclass(slots=True)
class Fates:
    """All posts of a run. find: where violations are reported."""

    find: Find
    _by_key: dict[str, Post] = field(default_factory=dict)
    _by_print: dict[str, Post] = field(default_factory=dict)
    _by_id: dict[str, Post] = field(default_factory=dict)
    _by_seq: dict[str, dict[int, Post]] = field(default_factory=dict)

    def posts(self) -> Iterable[Post]:
        """Every post, in the order in which they were read."""
        return self._by_key.values()

    def stream(self, name: str) -> dict[int, Post]:
        """The accepted events of a stream by seq, in no order."""
        return self._by_seq.get(name, {})

    def take(self, record: dict[str, Any], known: dict[str, int]) -> None:
        """Take up a producer's next record; others are let pass. known: stream -> the highest seq that this producer
        has been told, kept here. Raises JournalError when the record contradicts those before it."""
        op = record["op"]
        if op == "invoke":
            self._invoke(record, known.get(record["stream"], 0))
        elif op in _RANK:
            post = self._by_key.get(record["key"])
            if post is None or not post.open:
                raise JournalError(f"{op} of {record['key']!r} without an invoke before it")
            self._answer(post, op, record, known)

    def finish(self) -> None:
        """All producers' files have been read: find what contradicts the order of the posts."""
        for post in self.posts():
            if post.open or post.fate is None:
                post.fate = max(post.fate or "unknown", "unknown", key=lambda fate: _RANK[fate])
            if post.is_accepted and post.seq <= post.after_seq:
                detail = f"seq {post.seq}, though seq {post.after_seq} was acknowledged before it was posted"
                self.find("reordered", _ANSWERS, post.event_id, detail)

    def identify(self, where: str, event_id: str | None, stream: str, seq: int | None, print: str) -> Post | None:
        """The post that somebody has seen; None when it is none. Reports what should not be so."""
        subject = event_id or f"seq {seq} of {stream}"
        post = self._by_print.get(print)
        if post is None or post.stream != stream:
            known = self._by_id.get(event_id or "") or self.stream(stream).get(seq or 0)
            posted = f"to {post.stream}" if post else "by nobody"
            self.find("changed" if known else "invented", where, subject, f"print {print} was posted {posted}")
            return known
        if post.fate == "fail":
            self.find("invented", where, subject, f"the POST of {post.key} was refused")
            return None
        if not post.is_accepted and event_id is not None and seq is not None:
            self._accept(where, post, event_id, seq)  # its fate was unknown; now it has to be everywhere
        elif post.is_accepted and (event_id or post.event_id, seq or post.seq) != (post.event_id, post.seq):
            self._misplaced(where, post, event_id or post.event_id, seq or post.seq)
        return post

    def _invoke(self, record: dict[str, Any], after_seq: int) -> None:
        key, stream, print = record["key"], record["stream"], record["print"]
        post = self._by_key.get(key)
        if post is None:
            post = self._by_key[key] = Post(key, stream, print, after_seq)
            if self._by_print.setdefault(print, post) is not post:
                raise JournalError(f"{key!r} and {self._by_print[print].key!r} posted the same payload")
        elif (post.stream, post.print) != (stream, print):
            raise JournalError(f"{key!r} was posted twice with different streams or payloads")
        post.after_seq = min(post.after_seq, after_seq)
        post.open += 1

    def _answer(self, post: Post, fate: Fate, record: dict[str, Any], known: dict[str, int]) -> None:
        post.open -= 1
        if post.fate is None or _RANK[fate] > _RANK[post.fate]:
            post.fate = fate
        if fate == "ok":
            event_id, seq = record["id"], record["seq"]
            known[post.stream] = max(known.get(post.stream, 0), seq)
            if not post.is_accepted:
                self._accept(_ANSWERS, post, event_id, seq)
            elif (post.event_id, post.seq) != (event_id, seq):
                self._misplaced(_ANSWERS, post, event_id, seq)

    def _accept(self, where: str, post: Post, event_id: str, seq: int) -> None:
        post.event_id, post.seq = event_id, seq
        places = self._by_seq.setdefault(post.stream, {})
        for other in (self._by_id.setdefault(event_id, post), places.setdefault(seq, post)):
            if other is not post:
                detail = f"{post.key} and {other.key} were both given {event_id}, seq {seq} of {post.stream}"
                self.find("clash", where, event_id, detail)

    def _misplaced(self, where: str, post: Post, event_id: str, seq: int) -> None:
        detail = f"{post.key} is {post.event_id}, seq {post.seq}, and also {event_id}, seq {seq}"
        # A second id that nothing else has is the same post accepted twice.
        twice = event_id != post.event_id and event_id not in self._by_id
        self.find("repeated" if twice else "changed", where, event_id, detail)
