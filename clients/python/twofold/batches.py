"""Events as the bytes that are posted, how many go into one request, and what its answer says of each. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

# Half of what a server takes unless it is set otherwise (MAX_BATCH_EVENTS), and a quarter of MAX_BATCH_BYTES: larger
# requests save nothing more, and one that is lost is posted again as a whole.
MOST_EVENTS = 500
MOST_BYTES = 2**20
# Answers to a whole request that asking again may change.
FOR_NOW = frozenset({408, 425, 429})
# Answers that are about the key and the workspace, not about the events: no smaller request would fare better.
OF_THE_CALLER = frozenset({401, 403, 404, 405})


@dataclass(frozen=True, slots=True)
class Posted:
    """What the server says of one event. answer: its EventOut or its problem; stored: which of them.

    for_now: not stored, and posting it again may change that.
    """

    answer: dict[str, Any]
    stored: bool
    for_now: bool


def spell(
    kind: str,
    id: str,
    type: str,
    data: Mapping[str, Any] | bytes,
    idempotency_key: str,
    occurred_at: datetime | str | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    channels: Sequence[str] | None = None,
) -> bytes:
    """One event as JSON. data: an object, or the bytes of one, which are then posted as they are spelled. metadata,
    channels: left out when None.

    Raises ValueError and TypeError for what is not a JSON object: it would take its neighbours in a request along.
    """
    event: dict[str, Any] = {"stream": {"kind": kind, "id": id}, "type": type, "idempotency_key": idempotency_key}
    if occurred_at is not None:
        event["occurred_at"] = occurred_at if isinstance(occurred_at, str) else _time(occurred_at)
    if metadata is not None:
        event["metadata"] = dict(metadata)
    if channels is not None:
        event["channels"] = list(channels)
    return b'%b,"data":%b}' % (_json(event)[:-1], _checked(data) if isinstance(data, bytes) else _json(dict(data)))


def fitting(sizes: Iterable[int], most_events: int) -> int:
    """How many of the events of these sizes (bytes) go into the next request: at least one."""
    count = total = 0
    for size in sizes:
        if count and (count == most_events or total + size > MOST_BYTES):
            break
        count, total = count + 1, total + size
    return count


def body(events: Iterable[bytes]) -> bytes:
    """The request's body: an array."""
    return b"[%b]" % b",".join(events)


def read(text: bytes, count: int) -> list[Posted]:
    """The answers to `count` events, in their order. Raises ValueError when this is not an answer to them."""
    parsed = json.loads(text)
    answers = parsed.get("data") if isinstance(parsed, dict) else None
    if not isinstance(answers, list) or len(answers) != count:
        raise ValueError(f"the server's answer is not about {count} events")
    return [_posted(answer) for answer in answers]


def _posted(answer: Any) -> Posted:
    if not isinstance(answer, dict):
        raise ValueError("the server's answer about an event is not an object")
    if "seq" in answer:
        return Posted(answer, stored=True, for_now=False)
    return Posted(answer, stored=False, for_now=is_for_now(int(answer.get("status", 500))))


def problem(text: bytes) -> dict[str, Any]:
    """The problem (RFC 9457) in a refusal; what a proxy says instead is its detail."""
    with contextlib.suppress(ValueError):
        if isinstance(parsed := json.loads(text), dict):
            return parsed
    return {"detail": text[:200].decode("utf-8", "replace")}


def is_for_now(status: int) -> bool:
    """Whether a refusal with this status may be another answer later."""
    return status >= 500 or status in FOR_NOW


def is_about_the_caller(status: int) -> bool:
    """Whether a refusal of a whole request would be the same for a smaller one: a wrong key, or a wrong address."""
    return status < 400 or status in OF_THE_CALLER


def retry_after_seconds(header: str | None) -> float:
    """What a Retry-After header asks for, 0 without one. A date is not read: Twofold sends seconds."""
    return float(header) if header and header.isascii() and header.isdigit() else 0.0


def _time(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("occurred_at needs a time zone, such as datetime.now(UTC)")
    return moment.isoformat()


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8, but an escape
        return json.dumps(value, separators=(",", ":")).encode()


def _checked(data: bytes) -> bytes:
    if not isinstance(json.loads(data.decode(), parse_constant=_refuse), dict):
        raise ValueError("an event's data is a JSON object")
    return data


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
