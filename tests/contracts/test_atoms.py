"""Document 002: an active call as flat objects, between sse_init and sse_close."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer

PATH = "/atoms/v1/events"
COMMON = {"event_type", "event_id", "timestamp", "call_id"}
# Type -> (a payload as the document describes it, the members that only this type has).
TYPES: dict[str, dict[str, Any]] = {
    "call_start": {"direction": "inbound"},
    "user_interim_transcription": {"interim_transcription_text": "I would like"},
    "user_transcription": {"user_transcription_text": "I would like to book a table."},
    "tts_completed": {"tts_text": "For how many people?", "tts_latency": 240},
    "turn_latency": {"turn": 4, "latency_ms": 830},
    "metrics": {"stt_ms": 180},
    "call_end": {"reason": "hangup"},
}


def watch(producer: Producer, call: str, **headers: str) -> wire.Connection:
    return producer.watch(f"{PATH}?callId={call}", **headers)


def events(connection: wire.Connection) -> list[dict[str, Any]]:
    found = [wire.fields(frame) for frame in connection.frames()]
    assert all(set(one) == {"data"} for one in found), "a frame is one data line"
    return [json.loads(one["data"]) for one in found]


@clause("atoms-5", "atoms-6", "atoms-7", "atoms-10", "atoms-15", "atoms-16", "atoms-17", "atoms-18", "atoms-19",
        "atoms-20", "atoms-21", "atoms-24")  # fmt: skip
def test_every_type_comes_flat_with_the_common_fields_and_its_own(producer: Producer) -> None:
    call = producer.stream("call")
    with watch(producer, call) as stream:
        ids = [producer.post("call", call, type, data)["id"] for type, data in TYPES.items()]
        stream.read_to_end()
        opening, *shown, closing = events(stream)
    assert [event["event_id"] for event in shown] == ids
    for event, (type, data) in zip(shown, TYPES.items(), strict=True):
        assert event["event_type"] == type
        assert event["call_id"] == call
        assert {name: value for name, value in event.items() if name not in COMMON} == data, "no other type's members"
        assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
    assert len({event["event_id"] for event in (opening, *shown, closing)}) == len(TYPES) + 2
    assert isinstance(shown[3]["tts_latency"], int)


@clause("atoms-7")
def test_the_latency_is_optional(producer: Producer) -> None:
    call = producer.stream("call")
    with watch(producer, call) as stream:
        producer.post("call", call, "tts_completed", {"tts_text": "Hello."})
        stream.read_frames(2)
        assert set(events(stream)[1]) == COMMON | {"tts_text"}


def test_a_payload_cannot_pass_for_the_frames_own_members(producer: Producer) -> None:
    call = producer.stream("call")
    false = {"event_type": "sse_close", "call_id": "another", "note": 1, "timestamp": None, "event_id": 7}
    with watch(producer, call) as stream:
        id = producer.post("call", call, "metrics", false)["id"]
        stream.read_frames(2)
        event = events(stream)[1]
    assert (event["event_type"], event["event_id"], event["call_id"], event["note"]) == ("metrics", id, call, 1)


@clause("atoms-2")
def test_events_are_shown_as_they_happen_and_nothing_is_replayed(producer: Producer) -> None:
    call = producer.stream("call")
    producer.post("call", call, "call_start", {})
    for headers in ({}, {"Last_Event_ID": "0"}):
        with watch(producer, call, **headers) as stream:
            posted_at = time.monotonic()
            producer.post("call", call, "metrics", {})
            stream.read_frames(2)
            assert time.monotonic() - posted_at < 1
            assert [event["event_type"] for event in events(stream)] == ["sse_init", "metrics"]


@clause("atoms-11", "atoms-14")
def test_the_key_is_a_bearer_and_nothing_else(producer: Producer) -> None:
    call = producer.stream("call")
    with watch(producer, call) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
    for headers in ({"Authorization": ""}, {"Authorization": "", "X-API-Key": producer.key}):
        assert producer.get(f"{PATH}?callId={call}", **headers).status_code == 401
        assert producer.get(f"{PATH}?callId={call}&token={producer.key}", **headers).status_code == 401


@clause("atoms-26")
def test_a_slow_reader_catches_up_and_loses_nothing(producer: Producer) -> None:
    call = producer.stream("call")
    path = f"{PATH}?callId={call}"
    with wire.get(producer.base_url, path, receive_buffer=4096, Authorization=f"Bearer {producer.key}") as stream:
        stream.read_frames(1)
        for start in range(0, 300, 100):
            producer.post_many("call", call, "metrics", [{"n": n, "x": "x" * 3000} for n in range(start, start + 100)])
        stream.read_frames(301, seconds=30)
        assert [event["n"] for event in events(stream)[1:]] == list(range(300))
