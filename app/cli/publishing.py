"""Sending many events: as many in a request as are waiting, repeated until they are answered, never stored twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from app.cli.api import Api, refusal, unreachable
from app.cli.command import CommandError, Status
from app.cli.event_lines import Line

if TYPE_CHECKING:
    import requests

NDJSON = "application/x-ndjson"
MOST_EVENTS = 500  # in a request: half of what a server takes unless it is set otherwise
MOST_BYTES = 2**20  # a quarter of that; a server reads larger bodies one after the other
FIRST_WAIT_SECONDS = 0.5
BUSY = (408, 425, 429)  # refusals of a whole request that pass


@dataclass(frozen=True)
class Answer:
    """What became of one event: what the server answered, an event as it is stored or a problem."""

    line: Line
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether it is stored, by now or before."""
        return "seq" in self.body


def batches(lines: Iterator[Line], most: int = MOST_EVENTS) -> Iterator[list[Line]]:
    """Lines in the groups that they are to be sent in: all that have come, up to `most` and MOST_BYTES.

    They are read by a thread, so that a pipe's lines do not wait for more. What reading raises is raised here.
    """
    queue: Queue[Line | Exception | None] = Queue(maxsize=4 * most)
    Thread(target=_read_into, args=(queue, lines), name="input", daemon=True).start()
    group: list[Line] = []
    while True:
        try:
            line = queue.get_nowait() if group else queue.get()
        except Empty:
            yield group
            group = []
            continue
        full = len(group) == most or sum(len(one.event) for one in group) > MOST_BYTES
        if group and (full or not isinstance(line, Line)):
            yield group
            group = []
        if isinstance(line, Exception):
            raise line
        if line is None:
            return
        group.append(line)


def _read_into(queue: Queue[Line | Exception | None], lines: Iterator[Line]) -> None:
    try:
        for line in lines:
            queue.put(line)
    except Exception as error:
        queue.put(error)
    queue.put(None)


class Publisher:
    """Sends groups of events to one server, whose idempotency keys are in them.

    retries: how often in a row a request is repeated that was not answered or could not be served now; sleep: waits
    for so many seconds.
    """

    def __init__(self, api: Api, *, retries: int, sleep: Callable[[float], object]) -> None:
        self._api, self._retries, self._sleep = api, retries, sleep

    def send(self, lines: Sequence[Line]) -> list[Answer]:
        """The answers, in order. Raises CommandError when there are none, or the whole request is refused."""
        answers: dict[int, Answer] = {}
        left, failures = list(lines), 0
        while left:
            asked_seconds, why = self._post(left, answers)
            left = [line for line in left if line.number not in answers]
            if not left:
                break
            failures += 1
            if failures > self._retries:
                raise CommandError(f"{why}; line {left[0].number} and what follows it was not sent", Status.UNREACHABLE)
            from app.client.stream import pause_seconds  # with requests, which takes long to import

            self._sleep(pause_seconds(FIRST_WAIT_SECONDS, failures, asked_seconds, chance=0))
        return [answers[line.number] for line in lines]

    def _post(self, lines: Sequence[Line], answers: dict[int, Answer]) -> tuple[float, str]:
        """Send once and enter what was answered for good. Returns the seconds that the server asks to wait, and why."""
        body = b"\n".join(line.event for line in lines) + b"\n"
        try:
            answer = self._api.answered("POST", "/v1/events", data=body, headers={"Content-Type": NDJSON})
        except CommandError as error:
            return 0.0, str(error)
        if answer.status_code == 413 and len(lines) > 1:
            return self._halves(lines, answers)
        if answer.status_code >= 500 or answer.status_code in BUSY:
            return asked(answer), str(refusal(answer.status_code, answer.text))
        if not answer.ok or answer.is_redirect:
            raise refusal(answer.status_code, answer.text, answer.headers.get("Location", ""))
        why = ""
        for line, told in zip(lines, read_answers(answer.content), strict=False):
            if told.get("status", 0) >= 500:
                why = str(refusal(told["status"], json.dumps(told)))
            else:
                answers[line.number] = Answer(line, told)
        return 0.0, why or unreachable(self._api.server, ValueError())

    def _halves(self, lines: Sequence[Line], answers: dict[int, Answer]) -> tuple[float, str]:
        """A server that takes smaller requests: send in two parts."""
        middle = len(lines) // 2
        first = self._post(lines[:middle], answers)
        return self._post(lines[middle:], answers) if all(line.number in answers for line in lines[:middle]) else first


def read_answers(body: bytes) -> list[dict[str, Any]]:
    """The answers of an NDJSON body, as many as are whole."""
    found: list[dict[str, Any]] = []
    for line in body.split(b"\n"):
        try:
            answer = json.loads(line) if line else None
        except ValueError:
            break
        if isinstance(answer, dict):
            found.append(answer)
    return found


def asked(answer: requests.Response) -> float:
    """The seconds that an answer asks to wait, 0 when it names none."""
    after = answer.headers.get("Retry-After", "")
    return float(after) if after.isascii() and after.isdigit() else 0.0
