"""The full life of a stream (connect, events, a cut, back again, the end) with clients that others wrote."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.contracts.clients import LOST, READERS, Item, Over, Read
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer
from tests.contracts.relay import Relay
from tests.processes import eventually

SECONDS = 15.0
PAUSE_SECONDS = 0.05
LINE_READER = "document 003's line reader"  # looks at no id, so it cannot resume
LAST = 99  # the number of the event that ends a stream
CLOSED = -1  # instead of a status: the client was told `close`


@dataclass(frozen=True)
class Stream:
    """A path of a contract.

    type, payload: an event with a number in it; number: found again in a frame's data (None: no event of the stream).
    late: what follows the end, and completes the stream. name: of its events in the `event:` line. over: what the
    client is told when it comes back after the end.
    """

    kind: str
    path: str
    type: str
    payload: Callable[[int], dict[str, Any]]
    number: Callable[[dict[str, Any]], int | None]
    ending: tuple[str, dict[str, Any]]
    late: tuple[str, dict[str, Any]] | None = None
    name: str = ""
    resumes: bool = False
    over: int = 404


STREAMS = {
    "serveka": Stream(
        kind="bot",
        path="/sse/{}",
        type="transcript_segment",
        payload=lambda number: {"speaker": "Zoë 😀", "text": "a\u2028b\x85c", "timestamp": number, "is_final": True},
        number=lambda data: data.get("timestamp"),
        ending=("bot_status", {"status": "completed", "timestamp": LAST}),
        late=("recording_ready", {"recording_url": "https://recordings.example.com/r_1.mp4"}),
        name="transcript_segment bot_status recording_ready",
        resumes=True,
        over=204,
    ),
    "voicebip's transcript": Stream(
        kind="call",
        path="/v1/calls/{}/transcript",
        type="call.transcript",
        payload=lambda number: {"role": "user", "text": "Zoë\u2028😀", "turn": number},
        number=lambda data: data["data"]["turn"],
        ending=("call.ended", {}),
    ),
    "voicebip's conversation": Stream(
        kind="conversation",
        path="/v1/conversations/{}/stream",
        type="message.received",
        payload=lambda number: {"message_id": str(number), "direction": "inbound", "text": "😀", "status": "received"},
        number=lambda data: int(data["data"]["message_id"]),
        ending=("", {}),
    ),
    "atoms": Stream(
        kind="call",
        path="/atoms/v1/events?callId={}",
        type="tts_completed",
        payload=lambda number: {"tts_text": "Zoë\u2028😀", "tts_latency": number},
        number=lambda data: data.get("tts_latency"),
        ending=("call_end", {"tts_latency": LAST}),
        over=400,
    ),
    "aitronos": Stream(
        kind="session",
        path="/v1/meeting-buddy/sessions/{}/stream",
        type="status",
        payload=lambda number: {
            "session_id": "mbsess_x",
            "participant_name": "Zoë",
            "event": "joined",
            "timestamp": number,
        },
        number=lambda data: data.get("timestamp"),
        ending=("status", {"session_id": "mbsess_x", "status": "completed", "timestamp": LAST}),
        name="status close",
        resumes=True,
        over=CLOSED,
    ),
}


@dataclass
class Viewer:
    """A client on a thread of its own: it connects again whenever it is cut, with its cursor where it has one."""

    read: Read
    url: str
    headers: Callable[[], Mapping[str, str]]
    seen: list[Item] = field(default_factory=list)
    over: int | None = None
    error: BaseException | None = None

    def __enter__(self) -> Viewer:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the client does not come to its end"

    def _run(self) -> None:
        try:
            while self.over is None:
                self._connect()
                threading.Event().wait(PAUSE_SECONDS)
        except BaseException as error:
            self.error = error

    def _connect(self) -> None:
        cursor = next((item.id for item in reversed(self.seen) if item.id), "")
        try:
            for item in self.read(self.url, {**self.headers(), **({"Last-Event-ID": cursor} if cursor else {})}):
                self.seen.append(item)
                if item.name == "close":
                    self.over = CLOSED
                    return
        except Over as over:
            self.over = over.status
        except LOST:
            return


# Without a cursor a bot's viewer is shown the last 30 seconds at each connect, after the end, too: it needs an id.
LIVES = [(stream, client) for stream in STREAMS for client in READERS if (stream, client) != ("serveka", LINE_READER)]


@pytest.mark.parametrize(("contract", "client"), LIVES)
@clause(
    "serveka-9", "serveka-18", "serveka-19", "serveka-26", "voicebip-8", "voicebip-10", "voicebip-31",
    "atoms-2", "atoms-4", "aitronos-6", "aitronos-14", "aitronos-15", "aitronos-19",
)  # fmt: skip
def test_a_client_lives_through_a_stream(producer: Producer, contract: str, client: str) -> None:
    stream, id = STREAMS[contract], producer.stream(STREAMS[contract].kind)

    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {producer.mint(id)[1] if contract == 'serveka' else producer.key}"}

    def post(*numbers: int) -> None:
        for number in numbers:
            producer.post(stream.kind, id, stream.type, stream.payload(number))

    def numbers() -> list[int]:
        found = [stream.number(json.loads(item.data)) for item in list(viewer.seen)]
        return [number for number in found if number is not None]

    def shows(*expected: int) -> None:
        eventually(lambda: numbers() == [*expected], SECONDS, about=lambda: f"{viewer.seen} {viewer.error!r}")

    with Relay(producer.base_url) as relay:
        with Viewer(READERS[client], relay.base_url + stream.path.format(id), headers) as viewer:
            eventually(lambda: relay.answered == 1, SECONDS, about="the client watches")
            post(1, 2, 3)
            shows(1, 2, 3)
            relay.cut()
            post(4, 5)
            relay.mend()
            eventually(lambda: relay.answered >= 2, SECONDS, about=lambda: f"it is back; {viewer.error!r}")
            missed = [4, 5] if stream.resumes and client != LINE_READER else []
            shows(1, 2, 3, *missed)
            post(6)
            shows(1, 2, 3, *missed, 6)
            end(producer, stream, id)
        assert viewer.error is None
    shown_last = [LAST] if stream.number(stream.ending[1] | {"data": {"turn": None, "message_id": "0"}}) == LAST else []
    assert numbers() == [1, 2, 3, *missed, 6, *shown_last]
    assert viewer.over == stream.over
    assert {item.name for item in viewer.seen} <= set(stream.name.split() or ["message", ""])


def end(producer: Producer, stream: Stream, id: str) -> None:
    type, data = stream.ending
    if type:
        producer.post(stream.kind, id, type, data)
    else:
        producer.end(stream.kind, id)
    if stream.late is not None:
        producer.post(stream.kind, id, *stream.late)
