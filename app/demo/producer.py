"""The demo's producer: posts a recording at its pace, again and again until each event is answered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx

from app.client.books.bookkeeper import Bookkeeper
from app.client.books.records import StreamName
from app.demo.plan import RecordedEvent

# How many events go into one request, and in which of the three forms; repeated to the end. Mostly one by one, as a
# live call produces them.
SHAPES = ((1, "object"), (1, "object"), (3, "ndjson"), (1, "object"), (1, "object"), (2, "array"), (5, "ndjson"))
GIVE_UP_SECONDS = 60.0  # without an answer for so long, an event's fate is left open and reported
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class DemoEvent:
    """An event about to be posted. data: raw payload bytes."""

    key: str
    type: str
    data: bytes


@dataclass(slots=True)
class Tally:
    """What happened at POST /v1/events. acknowledgment_seconds: one for each answered request."""

    requests: int = 0
    retried: int = 0
    refused: int = 0
    unanswered: int = 0
    reasons: list[str] = field(default_factory=list)
    acknowledgment_seconds: list[float] = field(default_factory=list)


class Producer:
    """Posts events of one stream.

    stop: waits for so many seconds and says whether to end; before_last: called before the last event goes out.
    """

    def __init__(
        self,
        http: httpx.Client,
        books: Bookkeeper,
        tally: Tally,
        stop: Callable[[float], bool],
        before_last: Callable[[], None],
    ) -> None:
        self._http = http
        self._books = books
        self._tally = tally
        self._stop = stop
        self._before_last = before_last

    def play(self, stream: StreamName, run: str, recording: Sequence[RecordedEvent], when: Sequence[float]) -> None:
        """Post every event, each at its moment. when: seconds from now, ascending, one for each event."""
        began = time.monotonic()
        events = [DemoEvent(f"{run}-{number}", one.type, one.data) for number, one in enumerate(recording, 1)]
        for form, first, last in groups(len(events)):
            wait = began + when[last - 1] - time.monotonic()
            if self._stop(max(wait, 0.0)):
                return
            if last == len(events):
                self._before_last()
            self.post(stream, events[first:last], form)

    def post(self, stream: StreamName, events: list[DemoEvent], form: str) -> None:
        """Post until each event is answered. The same idempotency keys go out again, so nothing is taken twice."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        wait = FIRST_WAIT_SECONDS
        for event in events:
            self._books.posting(event.key, stream, event.type, event.data)
        while True:
            events = self._ask(stream, events, form)
            if not events:
                return
            if time.monotonic() > give_up_at or self._stop(wait):
                self._tally.unanswered += len(events)
                return
            self._tally.retried += 1
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    def _ask(self, stream: StreamName, events: list[DemoEvent], form: str) -> list[DemoEvent]:
        """Make one request; returns the events that have to be posted again."""
        self._tally.requests += 1
        sent_at = time.monotonic()
        try:
            response = self._http.post("/v1/events", **request(stream, events, form))
            answers = read_answers(response, form, len(events))
        except (httpx.TransportError, ValueError):  # cut off, or cut short: not an answer
            return events
        self._tally.acknowledgment_seconds.append(time.monotonic() - sent_at)
        return [event for event, answer in zip(events, answers, strict=True) if not self._settle(event, answer)]

    def _settle(self, event: DemoEvent, answer: dict[str, Any]) -> bool:
        """Write down an event's answer; False when it has to be asked again."""
        if "seq" in answer and "id" in answer:
            self._books.acknowledged(event.key, answer["id"], answer["seq"])
            return True
        status = int(answer.get("status", 500))
        if status >= 500 or status == 429:
            return False
        reason = f"{status} {answer.get('code', '')}: {answer.get('detail', '')}"
        self._books.refused(event.key, reason)
        self._tally.refused += 1
        self._tally.reasons.append(reason)
        return True


def groups(count: int) -> Iterator[tuple[str, int, int]]:
    """How `count` events are grouped into requests: (form, first, one after the last)."""
    first = 0
    for size, form in cycle(SHAPES):
        if first >= count:
            return
        last = min(first + size, count)
        yield form, first, last
        first = last


def request(stream: StreamName, events: Sequence[DemoEvent], form: str) -> dict[str, Any]:
    """Body and content type of one POST /v1/events. Payloads go out byte for byte."""
    kind, name = (json.dumps(part, ensure_ascii=False) for part in stream)
    objects = [
        b'{"stream":{"kind":%s,"id":%s},"type":"%s","idempotency_key":"%s","data":%s}'
        % (kind.encode(), name.encode(), event.type.encode(), event.key.encode(), event.data)
        for event in events
    ]
    if form == "ndjson":
        return {"content": b"\n".join(objects) + b"\n", "headers": {"Content-Type": "application/x-ndjson"}}
    content = b"[%s]" % b",".join(objects) if form == "array" else objects[0]
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def read_answers(response: httpx.Response, form: str, count: int) -> list[dict[str, Any]]:
    """One answer for each event. Raises ValueError when the response does not hold them."""
    if response.status_code >= 400 or form == "object":
        answer = response.json() if response.status_code < 500 else {}
        return [{"status": response.status_code, **answer}] * count
    if form == "ndjson":
        answers = [json.loads(line) for line in response.content.split(b"\n") if line]
    else:
        answers = response.json()["data"]
    if len(answers) != count:
        raise ValueError(f"{len(answers)} answers for {count} events")
    return answers
