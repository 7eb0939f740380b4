"""RFC 6455 on the real server: the handshake and what may refuse it, frames, fragments, and what breaks the rules."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import time
from itertools import pairwise

import pytest

from app.live.websocket_input import BURST
from app.web.live.conversation import LINGER_SECONDS
from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer, key_with, other_workspace
from tests.processes import eventually

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # its example: the 16 bytes "the sample nonce"
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": KEY,
}


def events_path(call: str) -> str:
    return f"/v1/calls/{call}/events"


def open_socket(producer: Producer, call: str) -> wire.WebSocket:
    """The call's events, with the handshake done."""
    ours = wire.WebSocket(producer.base_url, events_path(call), Authorization=f"Bearer {producer.key}")
    assert ours.status == 101, ours.head
    return ours


def controls(producer: Producer, call: str) -> list[object]:
    """The data of what the call's clients have said, as the API tells it."""
    found = producer.ask("GET", f"/v1/events?stream_kind=call&stream_id={call}&type=call.control&limit=250")
    return [event["data"] for event in found["data"]]


def handshake(producer: Producer, path: str, method: str = "GET", **changed: str | None) -> wire.Connection:
    """A handshake with some of its headers changed, or left out (None)."""
    headers = {**UPGRADE, "Authorization": f"Bearer {producer.key}", **changed}
    given = {name: value for name, value in headers.items() if value is not None}
    return wire.get(producer.base_url, path, method=method, **given)


@clause("voicebip-16")
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"Upgrade": "WebSocket"},
        {"Connection": "keep-alive, Upgrade"},
        {"Sec_WebSocket_Key": base64.b64encode(os.urandom(16)).decode()},
        {"Sec_WebSocket_Protocol": "chat, superchat", "Sec_WebSocket_Extensions": "permessage-deflate"},
    ],
    ids=["plain", "in other capitals", "among other options", "with a random key", "with offers"],
)
def test_a_proper_handshake_is_answered_with_the_accept_of_its_key(producer: Producer, changed: dict[str, str]) -> None:
    with handshake(producer, events_path(producer.stream("call")), **changed) as opened:
        assert opened.status == 101
        assert opened.head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        key = {**UPGRADE, **changed}["Sec_WebSocket_Key"]
        digest = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        assert opened.headers["sec-websocket-accept"] == digest
        assert opened.headers["upgrade"].lower() == "websocket"
        assert opened.headers["connection"].lower() == "upgrade"
        assert not {"sec-websocket-protocol", "sec-websocket-extensions", "content-length"} & set(opened.headers)


def test_the_example_of_the_rfc(producer: Producer) -> None:
    with handshake(producer, events_path(producer.stream("call"))) as opened:
        assert opened.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@clause("voicebip-33")
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Upgrade": None, "Connection": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": "not base 64"}, 400),
        ({"Sec_WebSocket_Key": base64.b64encode(b"short").decode()}, 400),
        ({"Sec_WebSocket_Key": base64.b64encode(b"17 bytes in there").decode()}, 400),
    ],
)
def test_a_handshake_that_is_none_is_told_what_is_spoken_here(
    producer: Producer, changed: dict[str, str | None], status: int
) -> None:
    with handshake(producer, events_path(producer.stream("call")), **changed) as refused:
        assert refused.status == status
        assert refused.headers["content-type"] == "application/problem+json"
        assert json.loads(refused.read_to_end())["status"] == status
        if status == 426:
            assert refused.headers["upgrade"] == "websocket"
            assert refused.headers["sec-websocket-version"] == "13"


@clause("voicebip-33")
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_only_get_opens_a_websocket(producer: Producer, method: str) -> None:
    with handshake(producer, events_path(producer.stream("call")), method=method, Content_Length="0") as refused:
        assert refused.status in (400, 405, 426)


@clause("voicebip-16", "voicebip-25")
def test_who_may_not_come_in_is_told_so_before_101(producer: Producer) -> None:
    call, foreign = producer.stream("call"), other_workspace(producer).stream("call")
    publisher = key_with(producer, "publish")
    ended = producer.stream("call")
    producer.end("call", ended)
    for path, authorization, status in (
        (call, None, 401),
        (call, "Bearer pk_nonsense", 401),
        (call, f"Bearer {publisher}", 403),
        (foreign, f"Bearer {producer.key}", 404),
        ("call_absent", f"Bearer {producer.key}", 404),
        (ended, f"Bearer {producer.key}", 404),
    ):
        with handshake(producer, events_path(path), Authorization=authorization) as refused:
            assert refused.status == status, (path, authorization)
            assert refused.headers["content-type"] == "application/problem+json"
            assert json.loads(refused.read_to_end())["status"] == status


@clause("voicebip-27")
@pytest.mark.parametrize("payload", [b"", b"are you there?", os.urandom(125)], ids=["empty", "short", "longest"])
def test_a_ping_is_answered_with_its_own_payload(producer: Producer, payload: bytes) -> None:
    with open_socket(producer, producer.stream("call")) as ours:
        ours.send(wire.PING, payload)
        ours.read_until(lambda: bool(ours.received))
        assert ours.received == [wire.Frame(wire.PONG, payload)]


@clause("voicebip-19")
def test_a_text_may_come_in_pieces_with_pings_between_and_characters_cut(producer: Producer) -> None:
    call = producer.stream("call")
    text = '{"type": "note", "data": {"text": "Grüße 😀"}}'.encode()
    cuts = [0, text.index("ü".encode()) + 1, text.index("😀".encode()) + 2, text.index("😀".encode()) + 3, len(text)]
    with open_socket(producer, call) as ours:
        for number, (start, end) in enumerate(pairwise(cuts)):
            opcode = wire.CONTINUATION if number else wire.TEXT
            ours.send(opcode, text[start:end], final=end == len(text))
            if end < len(text):
                ours.send(wire.PING, str(number).encode())
        ours.read_texts(1)
        assert [frame.payload for frame in ours.received if frame.opcode == wire.PONG] == [b"0", b"1", b"2"]
        assert json.loads(ours.texts[0])["data"] == {"type": "note", "data": {"text": "Grüße 😀"}}
    assert controls(producer, call) == [{"type": "note", "data": {"text": "Grüße 😀"}}]


def head(first: int, second: int, rest: bytes = b"") -> bytes:
    return bytes((first, second)) + rest


MASK = b"\0\0\0\0"
BROKEN = {
    "without a mask": head(0x81, 2, b"{}"),
    "with a reserved bit": head(0xC1, 0x82, MASK + b"{}"),
    "of an unknown kind": head(0x83, 0x82, MASK + b"{}"),
    "of an unknown control kind": head(0x8B, 0x80, MASK),
    "a ping of 126 bytes": head(0x89, 0xFE, struct.pack("!H", 126) + MASK + bytes(126)),
    "a ping in pieces": head(0x09, 0x80, MASK),
    "a continuation of nothing": head(0x80, 0x82, MASK + b"{}"),
    "a text within a text": head(0x01, 0x81, MASK + b"{") + head(0x81, 0x81, MASK + b"}"),
    "a close of one byte": head(0x88, 0x81, MASK + b"\x03"),
    "a close with 1005": head(0x88, 0x82, MASK + struct.pack("!H", 1005)),
    "a close with 999": head(0x88, 0x82, MASK + struct.pack("!H", 999)),
}


@clause("voicebip-34")
@pytest.mark.parametrize("frame", BROKEN.values(), ids=BROKEN)
def test_a_frame_against_the_protocol_ends_it_with_1002(producer: Producer, frame: bytes) -> None:
    call = producer.stream("call")
    with open_socket(producer, call) as ours:
        ours.socket.sendall(frame)
        assert ours.read_close() == 1002
        assert ours.texts == []
    assert controls(producer, call) == []


@clause("voicebip-20", "voicebip-34")
@pytest.mark.parametrize("payload", [b"", b"\x00\x01\x02" * 400])
def test_binary_ends_it_with_1003(producer: Producer, payload: bytes) -> None:
    with open_socket(producer, producer.stream("call")) as ours:
        ours.send(wire.BINARY, payload)
        assert ours.read_close() == 1003


@clause("voicebip-34")
@pytest.mark.parametrize("payload", [b"\xff", b'"\xed\xa0\x80"', b'"\xc3', b"\xf4\x90\x80\x80"])
def test_a_text_that_is_not_utf8_ends_it(producer: Producer, payload: bytes) -> None:
    """1007 says which rule was broken (RFC 6455 section 7.4.1)."""
    call = producer.stream("call")
    with open_socket(producer, call) as ours:
        ours.send(wire.TEXT, payload)
        assert ours.read_close() == 1007
    assert controls(producer, call) == []


@clause("voicebip-34")
def test_a_text_of_64_kib_is_taken_and_a_longer_one_ends_it_with_1009(producer: Producer) -> None:
    call = producer.stream("call")
    frame = '{"type":"note","data":{"text":"%s"}}'
    filled = frame % ("x" * (65536 - len(frame) + 2))
    with open_socket(producer, call) as ours:
        ours.say(filled)
        ours.read_texts(1)
        ours.say(filled.replace("x", "xx", 1))
        assert ours.read_close() == 1009
    assert controls(producer, call) == [json.loads(filled)]


@clause("voicebip-34")
def test_the_limit_counts_bytes_over_all_pieces_and_does_not_wait_for_the_last(producer: Producer) -> None:
    with open_socket(producer, producer.stream("call")) as ours:
        ours.send(wire.TEXT, "é".encode() * 16384, final=False)
        ours.send(wire.CONTINUATION, "é".encode() * 16384, final=False)
        ours.read_for(wire.QUIET_SECONDS)
        assert ours.close_code is None
        ours.send(wire.CONTINUATION, b"x", final=False)
        assert ours.read_close() == 1009


@clause("voicebip-34")
def test_a_frame_that_announces_gigabytes_is_not_waited_for(producer: Producer) -> None:
    with open_socket(producer, producer.stream("call")) as ours:
        ours.socket.sendall(head(0x81, 0xFF, struct.pack("!Q", 2**33) + MASK) + b"x" * 70_000)
        assert ours.read_close() == 1009
        ours.read_end()  # also when the client answers nothing


@clause("voicebip-34")
def test_a_client_that_floods_is_sent_away_for_a_while(producer: Producer) -> None:
    call = producer.stream("call")
    text = b'{"type":"dtmf","data":{"digits":"1"}}'
    with open_socket(producer, call) as ours:
        ours.socket.sendall(b"".join(head(0x81, 0x80 | len(text), MASK + text) for _ in range(1000)))
        assert ours.read_close() == 1013
    # The burst was good, and it is taken although the connection is over.
    eventually(lambda: len(controls(producer, call)) >= BURST, about="the texts within the limit are events")
    assert len(controls(producer, call)) < 250


@clause("voicebip-34")
def test_empty_pieces_without_end_do_no_harm(producer: Producer) -> None:
    with open_socket(producer, producer.stream("call")) as ours:
        ours.socket.sendall(head(0x01, 0x80, MASK) + head(0x00, 0x80, MASK) * 100)
        ours.send(wire.CONTINUATION, b'{"type":"note","data":{}}')
        ours.read_texts(1)
        assert json.loads(ours.texts[0])["data"] == {"type": "note", "data": {}}
        ours.socket.sendall(head(0x01, 0x80, MASK) + head(0x00, 0x80, MASK) * 2000)
        assert ours.read_close() == 1008  # each piece is a frame, and so many at once are a flood


@clause("voicebip-32")
@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", 1000), (struct.pack("!H", 1001) + b"bye", 1001), (struct.pack("!H", 4321), 4321)],
    ids=["without a code", "with a code and a reason", "with a code of its own"],
)
def test_a_client_that_says_goodbye_is_answered_in_kind(producer: Producer, payload: bytes, code: int) -> None:
    with open_socket(producer, producer.stream("call")) as ours:
        ours.send(wire.CLOSE, payload)
        ours.read_end()
        assert ours.received == [wire.Frame(wire.CLOSE, struct.pack("!H", code))]


def test_whoever_says_goodbye_first_is_let_go_at_once(producer: Producer) -> None:
    call, waits = producer.stream("call"), []
    for _ in range(3):
        with open_socket(producer, call) as ours:
            began = time.monotonic()
            ours.send(wire.CLOSE, struct.pack("!H", 1000))
            ours.read_end()
            waits.append(time.monotonic() - began)
    assert min(waits) < LINGER_SECONDS, f"seconds from the client's close to the end: {waits}"


@clause("voicebip-19")
def test_what_was_said_before_a_goodbye_counts(producer: Producer) -> None:
    call = producer.stream("call")
    said = [{"type": "dtmf", "data": {"digits": str(number)}} for number in range(20)]
    with open_socket(producer, call) as ours:
        for one in said:
            ours.say(json.dumps(one))
        ours.send(wire.CLOSE, struct.pack("!H", 1000))
    eventually(lambda: len(controls(producer, call)) >= len(said), about="all that was said")
    assert controls(producer, call) == said


@clause("voicebip-9")
def test_a_client_that_just_goes_is_forgotten(producer: Producer) -> None:
    def open_now() -> float:
        return producer.metric("twofold_subscribers")

    eventually(lambda: open_now() == 0, about="those of earlier tests are gone")
    with open_socket(producer, producer.stream("call")):
        eventually(lambda: open_now() == 1, about="it is counted")
    eventually(lambda: open_now() == 0, about="it is counted no longer")
