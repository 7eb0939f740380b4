"""Document 001: a call's transcript and a conversation by SSE. (Its WebSocket: test_websocket.py.)"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.conftest import Delivering
from tests.contracts.producer import Producer, key_with
from tests.processes import eventually

TURN = {"role": "user", "text": "I'd like to change my booking.", "turn": 3}
MESSAGE = {"message_id": "msg_1", "direction": "inbound", "text": "Is it on its way?", "status": "received"}
MODE = {"from_mode": "agent", "to_mode": "human", "actor_user_id": "user_7"}


def paths(call: str, conversation: str) -> dict[str, str]:
    return {
        "transcript": f"/v1/calls/{call}/transcript",
        "conversation": f"/v1/conversations/{conversation}/stream",
        "events": f"/v1/calls/{call}/events",
    }


def statuses(producer: Producer, path: str, **headers: str) -> int:
    """What a request to a live path answers; for the WebSocket path with a handshake."""
    maker = wire.WebSocket if path.partition("?")[0].endswith("/events") else wire.get
    with maker(producer.base_url, path, **headers) as connection:
        return connection.status


def data_of(frame: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wire.fields(frame)["data"])
    return found


@clause("voicebip-1", "voicebip-2", "voicebip-16")
def test_all_three_take_the_key_as_a_bearer(producer: Producer) -> None:
    call, conversation = producer.stream("call"), producer.stream("conversation")
    for name, path in paths(call, conversation).items():
        opened = 101 if name == "events" else 200
        assert statuses(producer, path, Authorization=f"Bearer {producer.key}") == opened
        assert statuses(producer, path, Authorization="Bearer pk_wrong") == 401
        assert statuses(producer, path) == 401
        assert statuses(producer, path, X_API_Key=producer.key) == 401
        assert statuses(producer, path, Authorization=f"Bearer {key_with(producer, 'publish')}") == 403


@clause("voicebip-3", "voicebip-4")
def test_a_key_in_the_query_opens_the_two_call_paths_and_nothing_else(producer: Producer) -> None:
    call, conversation = producer.stream("call"), producer.stream("conversation")
    for name, path in paths(call, conversation).items():
        expected = {"transcript": 200, "events": 101, "conversation": 401}[name]
        assert statuses(producer, f"{path}?token={producer.key}") == expected, name
    for rest in ("/v1/streams", "/v1/events", f"/v1/streams/call/{call}", "/v1/endpoints"):
        assert producer.get(f"{rest}?token={producer.key}", Authorization="").status_code == 401
    with_both = f"/v1/conversations/{conversation}/stream?token=pk_wrong"
    assert statuses(producer, with_both, Authorization=f"Bearer {producer.key}") == 200  # ignored, not refused


@clause("voicebip-5")
def test_a_key_in_the_query_is_in_no_log_and_no_referer(producer: Producer) -> None:
    call = producer.stream("call")
    for path in (f"/v1/calls/{call}/transcript", f"/v1/calls/{call}/events", "/v1/calls/absent/transcript"):
        statuses(producer, f"{path}?token={producer.key}&marker=shown")
    with wire.get(producer.base_url, f"/v1/calls/{call}/transcript?token={producer.key}") as stream:
        assert stream.headers["referrer-policy"] == "no-referrer"
    log = eventually(lambda: producer.server.web.log_text() if call in producer.server.web.log_text() else "")
    assert producer.key not in log
    assert "marker=shown" not in log


@clause("voicebip-6", "voicebip-7", "voicebip-14")
def test_the_transcript_has_a_turn_in_each_frame_and_nothing_else(producer: Producer) -> None:
    call = producer.stream("call")
    with producer.watch(f"/v1/calls/{call}/transcript") as stream:
        producer.post("call", call, "call.started", {"transport": "sip"})
        producer.post("call", call, "call.transcript", TURN)
        producer.post("call", call, "user_transcription", {"user_transcription_text": "another contract's"})
        producer.post("call", call, "call.transcript", {"role": "agent", "text": "Of course.", "turn": 4})
        producer.post("call", call, "call.ended", {})
        stream.read_to_end()
        frames = stream.frames()
    assert [set(wire.fields(frame)) for frame in frames] == [{"data"}, {"data"}]
    assert [data_of(frame)["data"]["turn"] for frame in frames] == [3, 4]
    for frame in frames:
        assert data_of(frame)["event_type"] == data_of(frame)["type"] == "call.transcript"


@clause("voicebip-8", "voicebip-31")
@pytest.mark.parametrize("end", ["call.ended", "by hand", "call_end"])
def test_the_transcript_closes_when_the_call_ends_and_is_not_found_afterwards(producer: Producer, end: str) -> None:
    call = producer.stream("call")
    with producer.watch(f"/v1/calls/{call}/transcript") as stream:
        if end == "by hand":
            producer.end("call", call)
        else:
            producer.post("call", call, end, {})
        assert stream.read_to_end() == b""
    for path in (f"/v1/calls/{call}/transcript", f"/v1/calls/{call}/events"):
        assert statuses(producer, path, Authorization=f"Bearer {producer.key}") == 404


@clause("voicebip-9")
def test_a_client_that_disconnects_is_forgotten(producer: Producer) -> None:
    call = producer.stream("call")
    eventually(lambda: producer.metric("twofold_subscribers") == 0)  # those of the tests before are forgotten, too
    with producer.watch(f"/v1/calls/{call}/transcript"):
        eventually(lambda: producer.metric("twofold_subscribers") == 1)
    eventually(lambda: producer.metric("twofold_subscribers") == 0)


@clause("voicebip-10")
@pytest.mark.parametrize("headers", [{}, {"Last_Event_ID": "0"}, {"Last_Event_ID": "1"}])
def test_nothing_is_replayed(producer: Producer, headers: dict[str, str]) -> None:
    call, conversation = producer.stream("call"), producer.stream("conversation")
    for kind, id, type, data, name in (
        ("call", call, "call.transcript", TURN, "transcript"),
        ("conversation", conversation, "message.received", MESSAGE, "conversation"),
    ):
        path = paths(call, conversation)[name]
        with producer.watch(path) as stream:
            producer.post(kind, id, type, data)
            stream.read_frames(1)
        producer.post(kind, id, type, data)
        with producer.watch(path, **headers) as back:
            producer.post(kind, id, type, data)
            back.read_for(wire.QUIET_SECONDS)
            assert [data_of(frame)["seq"] for frame in back.frames()] == [3]


@clause("voicebip-11", "voicebip-12", "voicebip-13", "voicebip-14")
def test_a_conversation_shows_messages_of_either_channel_and_who_took_over(producer: Producer) -> None:
    conversation = producer.stream("conversation")
    events = [
        ("message.received", MESSAGE | {"channel": "whatsapp"}),
        ("message.sent", MESSAGE | {"direction": "outbound", "status": "sent", "channel": "sms"}),
        ("message.delivered", MESSAGE | {"direction": "outbound", "status": "delivered"}),
        ("message.failed", MESSAGE | {"direction": "outbound", "status": "failed"}),
        ("conversation.mode_changed", MODE),
    ]
    with producer.watch(f"/v1/conversations/{conversation}/stream") as stream:
        for type, data in events:
            producer.post("conversation", conversation, type, data)
        frames = [data_of(frame) for frame in stream.read_frames(len(events))]
        assert not stream.whole  # nothing of this ends a conversation
    assert [(frame["event_type"], frame["data"]) for frame in frames] == events


@clause("voicebip-7", "voicebip-15", "serveka-27")
def test_the_same_events_come_by_webhook_with_the_same_envelope(delivering: Delivering) -> None:
    producer = delivering.producer
    conversation, bot = producer.stream("conversation"), producer.stream("bot")
    with producer.watch(f"/v1/conversations/{conversation}/stream") as stream:
        producer.post("conversation", conversation, "message.received", MESSAGE)
        (frame,) = stream.read_frames(1)
    (delivery,) = delivering.delivered(conversation, 1)
    shown = frame.removeprefix('data: {"event_type":"message.received",')
    assert "{" + shown == delivery.body.decode()
    producer.post("bot", bot, "transcript_segment", {"speaker": "A", "text": "b", "timestamp": "c", "is_final": True})
    (delivery,) = delivering.delivered(bot, 1)
    assert json.loads(delivery.body)["type"] == "transcript_segment"


@clause("voicebip-24")
def test_the_rest_of_the_api_answers_and_is_done(producer: Producer) -> None:
    call = producer.stream("call")
    for path in ("/v1/streams", f"/v1/streams/call/{call}", "/v1/events?stream_kind=call&stream_id=" + call):
        with wire.get(
            producer.base_url, path, Authorization=f"Bearer {producer.key}", Accept="text/event-stream"
        ) as got:
            got.read_to_end()
            assert got.headers["content-type"] == "application/json"


@clause("voicebip-30")
def test_each_delivery_is_retried_on_its_own_for_24_hours(delivering: Delivering) -> None:
    producer = delivering.producer
    call = producer.stream("call")
    event = producer.post("call", call, "call.transcript", TURN)
    (delivery,) = producer.ask("GET", f"/v1/events/{event['id']}/deliveries")["data"]
    created, deadline = (datetime.fromisoformat(delivery[name]) for name in ("created_at", "deadline_at"))
    assert deadline - created == timedelta(hours=24)
