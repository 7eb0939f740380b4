"""Document 001: what the WebSocket of a call shows, against what its webhooks say."""

from __future__ import annotations

import json

import pytest

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.conftest import Delivering

BARGE_IN = {"at_ms": 18250}


def open_events(delivering: Delivering, call: str) -> wire.WebSocket:
    producer = delivering.producer
    opened = wire.WebSocket(producer.base_url, f"/v1/calls/{call}/events", Authorization=f"Bearer {producer.key}")
    assert opened.status == 101
    return opened


@clause("voicebip-15", "voicebip-17", "voicebip-18", "voicebip-30")
def test_its_texts_equal_the_webhooks_bodies_byte_for_byte(delivering: Delivering) -> None:
    producer, call = delivering.producer, delivering.producer.stream("call", transport="sip")
    spelled = [
        ("call.idle_silence", '{"silence_ms": 8e3 , "n":12345678901234567890,"z":1.0,"a":"\\u2028\\u00e9😀"}'),
        ("call.quality_degraded", '{"metric":"packet_loss","value":0.070}'),
        ("call.barge_in", '{"transport":"sip","at_ms":18250}'),
        ("call.ended", "{}"),
    ]
    with open_events(delivering, call) as socket:
        for type, data in spelled:
            producer.post_raw(f'{{"stream":{{"kind":"call","id":"{call}"}},"type":"{type}","data":{data}}}')
        socket.read_close()
        texts = socket.texts
    bodies = {seen.body.decode() for seen in delivering.delivered(call, len(spelled))}
    assert len(texts) == len(spelled)
    assert set(texts) == bodies


@clause("voicebip-21", "voicebip-22")
@pytest.mark.parametrize(("transport", "shown"), [("esl", True), ("sip", True), ("webrtc", False), (None, True)])
def test_a_barge_in_is_shown_unless_the_call_is_a_browsers_and_always_on_webhooks(
    delivering: Delivering, transport: str | None, shown: bool
) -> None:
    producer = delivering.producer
    call = producer.stream("call", **({"transport": transport} if transport else {}))
    with open_events(delivering, call) as socket:
        producer.post("call", call, "call.barge_in", BARGE_IN)
        producer.post("call", call, "call.ended", {})
        socket.read_close()
        types = [json.loads(text)["type"] for text in socket.texts]
    assert types == (["call.barge_in"] if shown else []) + ["call.ended"]
    delivered = {json.loads(seen.body)["type"] for seen in delivering.delivered(call, 2)}
    assert delivered == {"call.barge_in", "call.ended"}
    with producer.watch(f"/v1/streams/call/{call}/live?after_seq=0") as canonical:
        canonical.read_to_end()
        assert len(canonical.frames()) == 2, "the canonical stream shows everything"


@clause("voicebip-19")
def test_what_a_client_asks_for_is_an_event_like_any_other(delivering: Delivering) -> None:
    producer, call = delivering.producer, delivering.producer.stream("call")
    asked = {"type": "dtmf", "data": {"digits": "4#"}}
    with open_events(delivering, call) as asking, open_events(delivering, call) as watching:
        asking.say(json.dumps(asked))
        (heard,) = watching.read_texts(1)
        assert asking.read_texts(1) == [heard], "the same bytes for everybody"
    (delivery,) = delivering.delivered(call, 1)
    assert delivery.body.decode() == heard
    assert json.loads(heard)["type"] == "call.control"
    assert json.loads(heard)["data"] == asked
    (listed,) = producer.ask("GET", f"/v1/events?stream_kind=call&stream_id={call}")["data"]
    assert (listed["type"], listed["data"]) == ("call.control", asked)
