"""A second opinion: the books as journals, read by the history checker, which shares no code with their audit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.client.books import history
from app.client.books.bookkeeper import Bookkeeper, Receiver, Viewer
from app.client.books.journal import Journal, fingerprint
from app.client.books.records import Received, Seen, StreamName, compact, members, stream_of

Record = dict[str, Any]


def check(
    books: Bookkeeper, receivers: Sequence[tuple[Receiver, str]], viewers: Sequence[Viewer], directory: Path
) -> list[str]:
    """Write and check the journals: what is wrong, in words. receivers: each with the prefix of its streams."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    _write(directory / "producers.jsonl", _of_producers(books))
    for number, (receiver, prefix) in enumerate(receivers):
        _write(directory / f"receiver-{number}.jsonl", _of_receiver(receiver, prefix))
    for number, viewer in enumerate(viewers):
        _write(directory / f"viewer-{number}.jsonl", _of_viewer(viewer, f"{viewer.log.name} {number}"))
    return history.check(sorted(directory.glob("*.jsonl"))).lines


def _write(path: Path, records: Iterator[Record]) -> None:
    journal = Journal(path)
    for record in records:
        journal.write(**record)
    journal.close()


def _of_producers(books: Bookkeeper) -> Iterator[Record]:
    """In the order of time: whoever was posted after an answer has a later seq than that."""
    lines: list[tuple[float, Record]] = []
    for post in books.posts():
        invoke = {"op": "invoke", "stream": _name(post.stream), "print": fingerprint(post.data)}
        lines.append((post.posted_at, {**invoke, "key": post.key}))
        if post.acknowledged_at is not None:
            answer = {"op": "ok", "key": post.key, "id": post.event_id, "seq": post.seq}
            lines.append((post.acknowledged_at, answer))
        elif post.refused:
            lines.append((post.posted_at, {"op": "fail", "key": post.key}))
    yield from (record for _, record in sorted(lines, key=lambda line: line[0]))


def _of_receiver(receiver: Receiver, prefix: str) -> Iterator[Record]:
    yield {"op": "register", "at": receiver.log.name, "prefix": prefix}
    for entry in receiver.log.entries:
        yield _received(entry, receiver.log.name)
    for event_id, why in receiver.log.excused.items():
        yield {"op": "excuse", "at": receiver.log.name, "id": event_id, "why": why}


def _received(entry: Received, name: str) -> Record:
    parts = dict(members(entry.body))
    what = {"stream": _name(stream_of(entry.body)), "seq": json.loads(parts["seq"])}
    prints = {"print": fingerprint(compact(parts["data"])), "body": fingerprint(entry.body)}
    status = 400 if entry.fault else 204
    return {"op": "receive", "at": name, "status": status, "id": entry.webhook_id, **what, **prints}


def _of_viewer(viewer: Viewer, name: str) -> Iterator[Record]:
    log = viewer.log
    yield {"op": "watch", "at": name, "stream": _name(log.stream), "after": log.after_seq}
    for entry in log.entries:
        if isinstance(entry, Seen) and entry.data is not None:
            yield {"op": "see", "at": name, "seq": entry.seq, "id": entry.event_id, "print": fingerprint(entry.data)}


def _name(stream: StreamName) -> str:
    return "/".join(stream)
