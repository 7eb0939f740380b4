"""WebSocket frames, decoded by a library that others wrote."""

from __future__ import annotations

import pytest
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode
from wsproto.frame_protocol import Frame as Decoded

from app.core.wire import websocket


def decoded(data: bytes) -> list[Decoded]:
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(data)
    return list(protocol.received_frames())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 300_000])
def test_a_text_of_any_length_arrives_whole(size: int) -> None:
    (frame,) = decoded(websocket.text_frame(b"x" * size))
    assert (frame.opcode, frame.payload, frame.message_finished) == (Opcode.TEXT, "x" * size, True)


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
    ],
)
def test_the_length_is_in_the_shortest_form(size: int, head: str) -> None:
    assert websocket.text_frame(b"x" * size) == bytes.fromhex(head) + b"x" * size


def test_frames_behind_each_other_stay_apart() -> None:
    texts = ['{"s":"\u2028é😀"}', "{}", "x" * 70_000]
    frames = decoded(b"".join(websocket.text_frame(text.encode()) for text in texts))
    assert [frame.payload for frame in frames] == texts


@pytest.mark.parametrize(("opcode", "kind"), [(websocket.PING, Opcode.PING), (websocket.PONG, Opcode.PONG)])
@pytest.mark.parametrize("payload", [b"", b"x" * 125])
def test_pings_and_pongs(opcode: int, kind: Opcode, payload: bytes) -> None:
    (frame,) = decoded(websocket.frame(opcode, payload))
    assert (frame.opcode, bytes(frame.payload)) == (kind, payload)


@pytest.mark.parametrize(
    ("code", "reason", "arrives"),
    [
        (1000, "", ""),
        (1000, "the stream has ended", "the stream has ended"),
        (1008, "x" * 200, "x" * 123),
        (1011, "é" * 100, "é" * 61),  # 123 bytes would end in the middle of a character
        (1012, "a" + "😀" * 40, "a" + "😀" * 30),
    ],
)
def test_a_close_frame_fits_and_its_reason_is_utf8(code: int, reason: str, arrives: str) -> None:
    data = websocket.close_frame(code, reason)
    assert len(data) <= 2 + 125
    (frame,) = decoded(data)
    assert frame.opcode == Opcode.CLOSE
    assert frame.payload == (CloseReason(code), arrives)
