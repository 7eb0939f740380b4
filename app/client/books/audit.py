"""Compare what was promised with what was seen. Pure functions over the book-keeper's records.

I1  every acknowledged event reached every receiver that wants it, or the API names its terminal state and why
I2  nothing that was refused, or never posted, was sent to anybody
I3  every POST verifies, carries what was posted, and repeats itself byte for byte under the same webhook-id
I4  every viewer saw a gap-free, ordered run of seqs from its cursor, each event as it was posted
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.client.books.records import (
    Cut,
    Finding,
    Posted,
    Received,
    ReceiverLog,
    Seen,
    StreamName,
    ViewerLog,
    members,
    stream_of,
)

_Print = tuple[StreamName, str, bytes]


@dataclass(frozen=True, slots=True)
class Index:
    """Posted events by every way in which they can turn up."""

    by_id: dict[str, Posted]
    by_seq: dict[tuple[StreamName, int], Posted]
    streams: frozenset[StreamName]
    unsure: frozenset[_Print]
    refused: frozenset[_Print]


def index(posts: Iterable[Posted]) -> Index:
    """Sort posted events by fate."""
    posts = list(posts)
    known = [post for post in posts if post.acknowledged_at is not None]
    open_ones = [post for post in posts if post.acknowledged_at is None]
    return Index(
        by_id={post.event_id: post for post in known},
        by_seq={(post.stream, post.seq): post for post in known},
        streams=frozenset(post.stream for post in posts),
        unsure=frozenset(_print(post) for post in open_ones if not post.refused),
        refused=frozenset(_print(post) for post in open_ones if post.refused),
    )


def audit_posts(posts: Iterable[Posted]) -> Iterator[Finding]:
    """Acknowledgments that contradict each other: two ids for one key, two events in one place."""
    places: dict[tuple[StreamName, int], Posted] = {}
    ids: dict[str, Posted] = {}
    for post in posts:
        for clash in post.clashes:
            yield Finding("I2", "clash", "acknowledgments", post.key, clash)
        if post.acknowledged_at is None:
            continue
        for taken in (places.setdefault((post.stream, post.seq), post), ids.setdefault(post.event_id, post)):
            if taken is not post:
                detail = f"{post.event_id} seq {post.seq} was also given to {taken.key}"
                yield Finding("I2", "clash", "acknowledgments", post.key, detail)


@dataclass(slots=True)
class Walk:
    """A viewer's entries gone through in order. first: seq -> when it was first seen; copies: of any event;
    let_go: seqs that a cut excuses."""

    findings: list[Finding]
    first: dict[int, float]
    copies: int
    let_go: set[int]
    missing: list[int]


def audit_viewer(log: ViewerLog, known: Index) -> Walk:
    """I4, and I2 for what should not have been there."""
    walk = Walk([], {}, 0, set(), [])
    expected = expected_seqs(log, known)
    last, after_cut = log.after_seq, False
    for entry in log.entries:
        if isinstance(entry, Cut):
            after_cut = True
            continue
        seq = _seq_of(entry, known)
        walk.findings.extend(_check_seen(log, entry, seq, known))
        if seq is None:
            continue
        hole = _hole(log, expected, last, seq)
        if after_cut:
            walk.let_go.update(hole)
            hole = ()
        if fault := _out_of_place(log.name, walk, hole, last, seq):
            walk.findings.append(fault)
        walk.first.setdefault(seq, entry.at)
        walk.copies += 1
        last, after_cut = max(last, seq), False
    if after_cut:
        walk.let_go.update(seq for seq in expected if seq > last)
    walk.missing = [seq for seq in expected if seq not in walk.first and seq not in walk.let_go]
    walk.findings.extend(_missing_from(log, seq, known) for seq in walk.missing)
    return walk


def expected_seqs(log: ViewerLog, known: Index) -> list[int]:
    """The acknowledged seqs that a viewer has to see, in order."""
    return sorted(
        seq
        for (stream, seq), post in known.by_seq.items()
        if stream == log.stream and seq > log.after_seq and (log.wants is None or log.wants(post))
    )


@dataclass(slots=True)
class Sorting:
    """A receiver's POSTs by what they are. first: webhook-id -> the first that verifies."""

    findings: list[Finding]
    first: dict[str, Received]
    repeated: int
    faulty: int
    missing: list[Posted]


def audit_receiver(log: ReceiverLog, known: Index) -> Sorting:
    """I1 and I3, and I2 for what should not have been there."""
    found = Sorting([], {}, 0, 0, [])
    for entry in log.entries:
        if entry.fault:
            found.faulty += 1
            subject = entry.webhook_id or "(no webhook-id)"
            found.findings.append(Finding("I3", "not verified", log.name, subject, entry.fault))
        elif entry.webhook_id in found.first:
            found.repeated += 1
            if found.first[entry.webhook_id].body != entry.body:
                detail = "the same webhook-id, another body"
                found.findings.append(Finding("I3", "changed repeat", log.name, entry.webhook_id, detail))
        else:
            found.first[entry.webhook_id] = entry
            found.findings.extend(_check_received(log, entry, known))
    for event_id, post in known.by_id.items():
        if log.wants(post) and event_id not in found.first and event_id not in log.excused:
            found.missing.append(post)
            detail = f"seq {post.seq} of {post.stream[1]} never came"
            found.findings.append(Finding("I1", "missing", log.name, event_id, detail))
    return found


def _seq_of(entry: Seen, known: Index) -> int | None:
    if entry.seq is None and entry.event_id in known.by_id:
        return known.by_id[entry.event_id].seq
    return entry.seq


def _hole(log: ViewerLog, expected: list[int], last: int, seq: int) -> Sequence[int]:
    """What was left out between two seqs: every number for a viewer of everything, else what it was to see."""
    if log.wants is None:
        return range(last + 1, seq)
    return expected[bisect_right(expected, last) : bisect_left(expected, seq)]


def _out_of_place(where: str, walk: Walk, hole: Sequence[int], last: int, seq: int) -> Finding | None:
    if seq in walk.first:
        return Finding("I4", "repeated", where, f"seq {seq}", f"again after seq {last}")
    if seq <= last:
        return Finding("I4", "out of order", where, f"seq {seq}", f"came after seq {last}")
    if hole:
        return Finding("I4", "gap", where, f"seq {hole[0]}", f"{len(hole)} left out before seq {seq}")
    return None


def _missing_from(log: ViewerLog, seq: int, known: Index) -> Finding:
    event_id = known.by_seq[log.stream, seq].event_id
    return Finding("I4", "missing", log.name, f"seq {seq}", f"{event_id} never came")


def _check_seen(log: ViewerLog, entry: Seen, seq: int | None, known: Index) -> Iterator[Finding]:
    post = known.by_seq.get((log.stream, seq)) if seq is not None else None
    subject = f"seq {seq}" if seq is not None else f"event {entry.event_id}"
    if post is None:
        yield from _check_stranger(log.name, subject, log.stream, entry.type, entry.data, known)
        return
    for what, got, promised in (
        ("id", entry.event_id, post.event_id),
        ("type", entry.type, post.type),
        ("payload", entry.data, post.data),
    ):
        if got is not None and got != promised:
            yield Finding("I4", "changed", log.name, subject, f"{what} {got!r} instead of {promised!r}")


def _check_received(log: ReceiverLog, entry: Received, known: Index) -> Iterator[Finding]:
    try:
        envelope = dict(members(entry.body))
        name = stream_of(entry.body)
        got = (json.loads(envelope["id"]), json.loads(envelope["type"]), json.loads(envelope["seq"]), envelope["data"])
    except (ValueError, KeyError, TypeError) as error:
        yield Finding("I3", "unreadable", log.name, entry.webhook_id, f"no envelope ({error!r}): {entry.body[:200]!r}")
        return
    post = known.by_id.get(entry.webhook_id)
    if post is None:
        yield from _check_stranger(log.name, entry.webhook_id, name, got[1], got[3], known)
        return
    if (name, *got) != (post.stream, post.event_id, post.type, post.seq, post.data):
        promised = (post.stream, post.event_id, post.type, post.seq, post.data)
        yield Finding("I3", "changed", log.name, entry.webhook_id, f"{(name, *got)!r} instead of {promised!r}")
    if not log.wants(post):
        yield Finding("I2", "unwanted", log.name, entry.webhook_id, f"type {post.type} is not in its filter")


def _check_stranger(
    where: str, subject: str, stream: StreamName, type: str | None, data: bytes | None, known: Index
) -> Iterator[Finding]:
    """Something nobody has an acknowledgment for: fine if its fate is unknown, else a breach of I2."""
    if type is None or data is None or (stream, type, data) in known.unsure:
        return
    kind = "refused but sent" if (stream, type, data) in known.refused else "never posted"
    yield Finding("I2", kind, where, subject, f"type {type}, payload {data[:200]!r}")


def _print(post: Posted) -> _Print:
    return post.stream, post.type, post.data
