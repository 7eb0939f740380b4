"""What receivers got and viewers saw, held against what was posted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from app.client.books.fates import Fates, Find, Post
from app.client.books.journal import JournalError

# Enough of a kind to see what it is about.
SHOWN_OF_A_KIND = 20


@dataclass(slots=True)
class Report:
    """What a check found. posts: by fate; violations: by kind, of which `lines` describes the first ones.

    appeared: posts of unknown fate that were seen; webhooks, shown: what receivers and viewers got; allowed_repeats:
    POSTs after one that was answered 2xx; retried: POSTs after others; excused: deliveries that the API accounts for.
    """

    posts: Counter[str] = field(default_factory=Counter)
    appeared: int = 0
    webhooks: int = 0
    allowed_repeats: int = 0
    retried: int = 0
    excused: int = 0
    shown: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def find(self, kind: str, where: str, subject: str, detail: str) -> None:
        self.violations[kind] += 1
        if self.violations[kind] <= SHOWN_OF_A_KIND:
            self.lines.append(f"{kind} at {where}: {subject}: {detail}")

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.violations.items())
        return "\n".join(
            [
                f"posts: {self.posts['ok']} acknowledged, {self.posts['fail']} refused, {self.posts['unknown']} unknown"
                f" (of which {self.appeared} appeared)",
                f"webhooks: {self.webhooks} received, {self.allowed_repeats} repeated with the same id and bytes,"
                f" {self.retried} tried again, {self.excused} excused",
                f"streams: {self.shown} events shown",
                f"violations: {kinds or 'none'}",
                *self.lines,
            ]
        )


class Receiver:
    """One receiver's webhooks."""

    def __init__(self, name: str, prefix: str, fates: Fates, report: Report) -> None:
        self.name, self.prefix, self._fates, self._report = name, prefix, fates, report
        self._taken: set[str] = set()
        self._refused: set[str] = set()
        self._excused: set[str] = set()

    def receive(self, record: dict[str, Any]) -> None:
        event_id, stream = record["id"], record["stream"]
        self._report.webhooks += 1
        post = self._fates.identify(self.name, event_id, stream, record["seq"], record["print"])
        if post is None:
            return
        if not stream.startswith(self.prefix):
            self._report.find("invented", self.name, event_id, f"not for this receiver, it is of {stream}")
        if post.body and post.body != record["body"]:
            self._report.find("changed", self.name, event_id, "the same webhook-id with another body")
        post.body = post.body or record["body"]
        self._report.allowed_repeats += event_id in self._taken
        self._report.retried += event_id in self._refused and event_id not in self._taken
        (self._taken if 200 <= record["status"] < 300 else self._refused).add(event_id)

    def excuse(self, record: dict[str, Any]) -> None:
        if not record["why"]:
            raise JournalError("an excuse has to say why")
        self._excused.add(record["id"])

    def finish(self) -> None:
        """Everything has been read: what is missing?"""
        for post in self._fates.posts():
            if not post.is_accepted or post.event_id in self._taken or not post.stream.startswith(self.prefix):
                continue
            if post.event_id in self._excused:
                self._report.excused += 1
            else:
                _miss(self._report.find, self.name, post)


class Viewer:
    """One viewer's run through a stream. Ranges of seqs are half open."""

    def __init__(self, name: str, stream: str, after: int, fates: Fates, report: Report) -> None:
        self._name, self._stream, self._fates, self._report = name, stream, fates, report
        self._last = after
        self._gaps: list[range] = []
        self._cuts: list[range] = []
        self._is_cut = self._has_left = False

    def see(self, record: dict[str, Any]) -> None:
        self._report.shown += 1
        post = self._fates.identify(self._name, record["id"], self._stream, record["seq"], record["print"])
        seq = record["seq"] or (post.seq if post else 0)
        if not seq:
            return
        if seq > self._last:
            if seq > self._last + 1:
                (self._cuts if self._is_cut else self._gaps).append(range(self._last + 1, seq))
            self._last, self._is_cut = seq, False
        elif _take_out(self._gaps, seq) or _take_out(self._cuts, seq):
            self._report.find("reordered", self._name, f"seq {seq} of {self._stream}", f"came after seq {self._last}")
        else:
            self._report.find("repeated", self._name, f"seq {seq} of {self._stream}", f"again, after seq {self._last}")

    def cut(self) -> None:
        self._is_cut = True

    def leave(self) -> None:
        self._has_left = True

    def finish(self) -> None:
        """Everything has been read: what is missing?"""
        for gap in self._gaps:
            seqs = f"seq {gap[0]}" if len(gap) == 1 else f"seqs {gap[0]} to {gap[-1]}"
            self._report.find("gap", self._name, f"{seqs} of {self._stream}", "left out")
        if self._has_left or self._is_cut:
            return
        for seq, post in self._fates.stream(self._stream).items():
            if seq > self._last:
                _miss(self._report.find, self._name, post)


def _miss(find: Find, where: str, post: Post) -> None:
    if post.fate == "ok":
        find("lost", where, post.event_id, f"seq {post.seq} of {post.stream} never came")
    else:
        find("half", where, post.event_id, f"the POST of {post.key} was not answered; others saw the event")


def _take_out(ranges: list[range], seq: int) -> bool:
    """Take a seq out of the range that it is in; whether there is one."""
    for index, found in enumerate(ranges):
        if seq in found:
            rest = (range(found.start, seq), range(seq + 1, found.stop))
            ranges[index : index + 1] = [part for part in rest if part]
            return True
    return False
