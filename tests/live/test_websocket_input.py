"""What a WebSocket client may send: how much of it, in how many frames, and how each is counted."""

from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Message, Ping, Pong, TextMessage

from app.live import websocket_input
from app.live.websocket_input import BURST, FRAME_BURST, FRAMES_PER_SECOND, TEXTS_PER_SECOND, WebSocketInput


class Client:
    """A client's half, the receiving half, and a clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.texts: list[str] = []
        self.replies: list[bytes] = []
        self.ended: list[str] = []
        self.input = WebSocketInput(self.texts.append, self.replies.append, self.ended.append, lambda: self.now)
        self._half = Connection(ConnectionType.CLIENT)

    def frames(self, event: Message | Ping | Pong, count: int = 1) -> bytes:
        return b"".join(self._half.send(event) for _ in range(count))


@pytest.mark.parametrize(
    "event", [Ping(), Pong(), TextMessage("", message_finished=False)], ids=["ping", "pong", "part"]
)
def test_every_frame_counts_and_nothing_behind_the_last_one_is_read(event: Message | Ping | Pong) -> None:
    client = Client()
    client.input.receive(client.frames(event, FRAME_BURST))
    assert client.ended == []
    client.input.receive(client.frames(event, 1000))
    assert client.ended == ["flood"]
    assert len(client.replies) == (FRAME_BURST if isinstance(event, Ping) else 0)
    code, _ = websocket_input.CLOSES["flood"]
    assert code == 1008


def test_frames_come_back_with_time() -> None:
    client = Client()
    for _ in range(10):
        client.input.receive(client.frames(Ping(), FRAMES_PER_SECOND))
        client.now += 1
    assert (client.ended, len(client.replies)) == ([], 10 * FRAMES_PER_SECOND)


def test_a_text_that_a_slow_network_brings_byte_by_byte_is_one_frame() -> None:
    client, text = Client(), "x" * (FRAME_BURST * 4)
    for byte in client.frames(TextMessage(text)):
        client.input.receive(bytes([byte]))
    assert (client.texts, client.ended) == ([text], [])


def test_texts_have_an_allowance_of_their_own() -> None:
    client = Client()
    client.input.receive(client.frames(TextMessage("a"), BURST))
    client.now += 1
    client.input.receive(client.frames(TextMessage("b"), TEXTS_PER_SECOND))
    assert (len(client.texts), client.ended) == (BURST + TEXTS_PER_SECOND, [])
    client.input.receive(client.frames(TextMessage("c")))
    assert client.ended == ["too_fast"]
