"""What goes over a call's WebSocket: envelopes as the webhooks have them, and texts that become events of the call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.conftest import Delivering
from tests.contracts.producer import Producer, key_with


def events(producer: Producer, call: str, key: str | None = None) -> wire.WebSocket:
    """The call's events, with the handshake done."""
    ours = wire.WebSocket(producer.base_url, f"/v1/calls/{call}/events", Authorization=f"Bearer {key or producer.key}")
    assert ours.status == 101, ours.head
    return ours


def kept(producer: Producer, call: str) -> list[dict[str, Any]]:
    """All events of the call, as the API tells them."""
    found: list[dict[str, Any]] = producer.ask("GET", f"/v1/events?stream_kind=call&stream_id={call}")["data"]
    return found


@clause("voicebip-17", "voicebip-18", "voicebip-30")
def test_texts_are_the_webhooks_bodies_byte_for_byte(delivering: Delivering) -> None:
    producer = delivering.producer
    call = producer.stream("call", transport="sip")
    payloads = [
        '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400}',
        '{"text":"Grüße \u2028 😀 \\u00e9 \\"quoted\\" <&>"}',
        '{"at_ms": 18250, "transport": "sip"}',
        '{"text":"%s"}' % ("long " * 20_000),
    ]
    with events(producer, call) as ours:
        for data in payloads:
            producer.post_raw(
                f'{{"stream":{{"kind":"call","id":"{call}"}},"type":"call.quality_degraded","data":{data}}}'
            )
        texts = sorted(ours.read_texts(len(payloads)))
    assert texts == sorted(seen.body.decode() for seen in delivering.delivered(call, len(payloads)))
    assert '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400}' in texts[0]


@clause("voicebip-21", "voicebip-22", "voicebip-30")
@pytest.mark.parametrize("transport", ["esl", "sip", "webrtc"])
def test_barge_in_of_a_webrtc_call_is_on_the_webhook_alone(delivering: Delivering, transport: str) -> None:
    producer = delivering.producer
    call = producer.stream("call", transport=transport)
    with events(producer, call) as ours:
        producer.post("call", call, "call.idle_silence", {"silence_ms": 8000})
        producer.post("call", call, "call.barge_in", {"transport": transport, "at_ms": 18250})
        producer.post("call", call, "call.ended", {})
        assert ours.read_close() == 1000
        shown = [json.loads(text)["type"] for text in ours.texts]
    everything = ["call.idle_silence", "call.barge_in", "call.ended"]
    assert shown == [type for type in everything if (type, transport) != ("call.barge_in", "webrtc")]
    delivered = delivering.delivered(call, 3)
    assert sorted(json.loads(seen.body)["type"] for seen in delivered) == sorted(everything)


@clause("voicebip-19")
def test_what_a_client_says_is_an_event_of_the_call_for_everybody(delivering: Delivering) -> None:
    producer = delivering.producer
    call = producer.stream("call")
    with events(producer, call) as speaker, events(producer, call) as listener:
        speaker.say(' {"type": "dtmf", "data": {"digits": "4#", "big": 12345678901234567890}}\n')
        speaker.say('{"data":{},"type":"hold"}')
        texts = listener.read_texts(2)
        assert speaker.read_texts(2) == texts
    first, second = (json.loads(text) for text in texts)
    said = {"type": "dtmf", "data": {"digits": "4#", "big": 12345678901234567890}}
    assert (first["type"], first["stream"], first["data"]) == ("call.control", {"kind": "call", "id": call}, said)
    assert (second["seq"], second["data"]) == (first["seq"] + 1, {"type": "hold", "data": {}})
    assert [(one["id"], one["type"], one["data"]) for one in kept(producer, call)] == [
        (one["id"], "call.control", one["data"]) for one in (first, second)
    ]
    assert sorted(seen.body.decode() for seen in delivering.delivered(call, 2)) == sorted(texts)


@clause("voicebip-19")
def test_a_key_that_may_not_publish_may_watch_and_not_speak(producer: Producer) -> None:
    call = producer.stream("call")
    with events(producer, call, key_with(producer, "subscribe")) as ours:
        ours.say('{"type":"dtmf","data":{"digits":"1"}}')
        (answer,) = ours.read_texts(1)
        assert json.loads(answer)["error"]["code"] == "forbidden"
        posted = producer.post("call", call, "call.idle_silence", {"silence_ms": 1})
        assert json.loads(ours.read_texts(2)[1])["id"] == posted["id"]
    assert [one["id"] for one in kept(producer, call)] == [posted["id"]]


@clause("voicebip-19", "voicebip-32")
@pytest.mark.parametrize("by", ["key", "token"])
def test_a_revoked_credential_publishes_nothing_more_over_an_open_websocket(producer: Producer, by: str) -> None:
    call = producer.stream("call")
    key = producer.ask("POST", "/v1/keys", {"name": "one", "scopes": ["publish", "subscribe"]}, 201)
    secret, revoke = key["key"], f"/v1/keys/{key['id']}"
    if by == "token":
        secret = producer.ask("POST", f"/v1/streams/call/{call}/tokens", None, 201)["token"]
        (listed,) = producer.ask("GET", f"/v1/streams/call/{call}/tokens")["data"]
        revoke = f"/v1/streams/call/{call}/tokens/{listed['id']}"
    with events(producer, call, secret) as ours:
        ours.say('{"type":"dtmf","data":{"digits":"1"}}')
        ours.read_texts(1)
        producer.ask("DELETE", revoke, None, 204)
        ours.say('{"type":"dtmf","data":{"digits":"2"}}')
        ours.say('{"type":"dtmf","data":{"digits":"3"}}')
        assert ours.read_close(2) == 1008
        answers = [json.loads(text) for text in ours.texts[1:]]
        assert {answer["error"]["code"] for answer in answers} <= {"unauthorized"}
    assert [one["data"]["data"]["digits"] for one in kept(producer, call)] == ["1"]


MALFORMED = [
    "",
    " ",
    "dtmf",
    "{",
    "[]",
    "null",
    '"dtmf"',
    "{}",
    '{"type":"dtmf"}',
    '{"data":{}}',
    '{"type":"dtmf","data":{},"more":1}',
    '{"type":"dtmf","data":{},"data":{}}',
    '{"type":"dtmf","data":{},"d\\u0061ta":{}}',
    '{"type":7,"data":{}}',
    '{"type":"","data":{}}',
    '{"type":"two words","data":{}}',
    '{"type":"line\\nbreak","data":{}}',
    '{"type":"dtmf","data":[]}',
    '{"type":"dtmf","data":null}',
    '{"type":"dtmf","data":{"n":NaN}}',
    '{"type":"dtmf","data":{"s":"\\u0000"}}',
    '{"type":"dtmf","data":{}}{"type":"dtmf","data":{}}',
    '\ufeff{"type":"dtmf","data":{}}',
    '{"type":"dtmf","data":{"d":' + "[" * 100 + "]" * 100 + "}}",
]


@clause("voicebip-34")
def test_a_malformed_text_is_answered_and_nothing_is_kept(producer: Producer) -> None:
    call = producer.stream("call")
    with events(producer, call) as ours:
        for number, text in enumerate(MALFORMED, 1):
            ours.say(text)
            answer = json.loads(ours.read_texts(number)[-1])
            assert set(answer) == {"error"}, text
            assert set(answer["error"]) == {"code", "detail"}, text
            assert answer["error"]["code"] in ("invalid", "invalid_json", "bad_request"), text
            assert answer["error"]["detail"], text
        assert kept(producer, call) == []
        ours.say('{"type":"dtmf","data":{}}')  # and the connection is as good as before
        assert json.loads(ours.read_texts(len(MALFORMED) + 1)[-1])["type"] == "call.control"


@clause("voicebip-28", "voicebip-29", "voicebip-30")
def test_a_websocket_that_stops_reading_loses_what_is_beyond_its_64_frames(delivering: Delivering) -> None:
    producer, count = delivering.producer, 320
    call = producer.stream("call")
    before = producer.metric("twofold_frames_dropped_total")
    with SlowWebSocket(producer, call) as slow, events(producer, call) as quick:
        assert slow.status == 101
        for start in range(1, count + 1, 40):
            payloads = [{"metric": "loss", "n": number, "x": "x" * 4000} for number in range(start, start + 40)]
            producer.post_many("call", call, "call.quality_degraded", payloads)
            quick.read_texts(start + 39, seconds=20)  # nobody waits for the slow one
        slow.read_texts(65)
        slow.read_for(2)  # the rest of what was kept, and the time in which the figures are carried over
        shown = [json.loads(text)["seq"] for text in slow.texts]
        # Behind them there may be holes: whenever the network has taken a frame, another one is kept.
        assert shown[:64] == list(range(1, 65))
        assert shown == sorted(set(shown))
        assert len(shown) < count, "the test is to overflow the queue"
        assert producer.metric("twofold_frames_dropped_total") - before == count - len(shown)
        producer.post("call", call, "call.idle_silence", {})  # it reads again, so it is shown what happens now
        assert json.loads(slow.read_texts(len(shown) + 1)[-1])["seq"] == count + 1
    delivered = delivering.delivered(call, count + 1)
    assert sorted(json.loads(seen.body)["seq"] for seen in delivered) == list(range(1, count + 2))


class SlowWebSocket(wire.WebSocket):
    """Takes little before it reads."""

    def __init__(self, producer: Producer, call: str) -> None:
        self.received = []
        lines = [
            f"GET /v1/calls/{call}/events HTTP/1.1", "Host: slow", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Authorization: Bearer {producer.key}", "", "",
        ]  # fmt: skip
        wire.Connection.__init__(self, producer.base_url, "\r\n".join(lines).encode(), receive_buffer=4096)
