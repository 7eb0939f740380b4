"""Document 001 where it is hardest: a reader of a conversation that falls behind, and a call from start to end."""

from __future__ import annotations

import json
from typing import Any

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.conftest import Delivering
from tests.contracts.producer import Producer, other_workspace

MESSAGE = {"message_id": "msg_1", "direction": "inbound", "text": "Is it on its way?", "status": "received"}


def data_of(frame: str) -> dict[str, Any]:
    fields = wire.fields(frame)
    assert set(fields) == {"data"}, frame
    found: dict[str, Any] = json.loads(fields["data"])
    return found


def behind(call: str, conversation: str) -> list[str]:
    """The three paths."""
    return [
        f"/v1/calls/{call}/transcript",
        f"/v1/conversations/{conversation}/stream",
        f"/v1/calls/{call}/events",
    ]


@clause("voicebip-28", "voicebip-29", "voicebip-30")
def test_a_conversations_reader_that_stops_loses_what_is_beyond_64_frames(delivering: Delivering) -> None:
    producer, count = delivering.producer, 320
    conversation = producer.stream("conversation")
    path, key = f"/v1/conversations/{conversation}/stream", f"Bearer {producer.key}"
    before = producer.metric("twofold_frames_dropped_total")
    with (
        wire.get(producer.base_url, path, receive_buffer=4096, Authorization=key) as slow,
        wire.get(producer.base_url, path, Authorization=key) as quick,
    ):
        assert slow.status == quick.status == 200
        for start in range(0, count, 40):
            payloads = [MESSAGE | {"message_id": f"msg_{start + n}", "text": "x" * 4000} for n in range(40)]
            producer.post_many("conversation", conversation, "message.received", payloads)
            quick.read_frames(start + 40, seconds=20)  # nobody waits for the slow one
        slow.read_frames(65)
        slow.read_for(2)  # the rest of what was kept, and the time in which the figures are carried over
        shown = [data_of(frame)["seq"] for frame in slow.frames()]
        # Behind the first 64 there may be holes: whenever the network has taken a frame, another one is kept.
        assert shown[:64] == list(range(1, 65))
        assert shown == sorted(set(shown))
        assert len(shown) < count, "the test is to overflow the queue"
        assert producer.metric("twofold_frames_dropped_total") - before == count - len(shown)
        producer.post("conversation", conversation, "message.received", MESSAGE)
        assert data_of(slow.read_frames(len(shown) + 1)[-1])["seq"] == count + 1
    delivered = delivering.delivered(conversation, count + 1)
    assert sorted(json.loads(seen.body)["seq"] for seen in delivered) == list(range(1, count + 2))


@clause("voicebip-6", "voicebip-8", "voicebip-10", "voicebip-31", "voicebip-32")
def test_a_call_on_its_two_paths_from_its_start_over_a_cut_to_its_end(producer: Producer) -> None:
    call, key = producer.stream("call", transport="sip"), f"Bearer {producer.key}"
    transcript, _, events = behind(call, "-")
    turn = {"role": "user", "text": "Hello?"}
    with producer.watch(transcript) as first:
        producer.post("call", call, "call.transcript", turn | {"turn": 1})
        first.read_frames(1)
    producer.post("call", call, "call.transcript", turn | {"turn": 2})  # nobody watches, and nothing is kept
    with producer.watch(transcript) as back, wire.WebSocket(producer.base_url, events, Authorization=key) as socket:
        assert socket.status == 101
        producer.post("call", call, "call.barge_in", {"transport": "sip", "at_ms": 1})
        producer.post("call", call, "call.transcript", turn | {"turn": 3})
        producer.post("call", call, "call.ended", {"reason": "hangup"})
        back.read_to_end()
        assert [data_of(frame)["data"]["turn"] for frame in back.frames()] == [3]
        assert socket.read_close() == 1000
        types = [json.loads(text)["type"] for text in socket.texts]
        assert types == ["call.barge_in", "call.transcript", "call.ended"]
    ended, absent = behind(call, "-"), behind("call_absent", "-")
    for path, other in ((ended[0], absent[0]), (ended[2], absent[2])):
        maker = wire.WebSocket if path.endswith("/events") else wire.get
        with maker(producer.base_url, path, Authorization=key) as over:
            assert over.status == 404, path
        with maker(producer.base_url, other, Authorization=key) as never:
            assert never.status == 404


def answer(producer: Producer, path: str, **headers: str) -> tuple[int, bytes]:
    """(status, body if it is refused), by a handshake where the path takes one."""
    maker = wire.WebSocket if "/events" in path else wire.get
    with maker(producer.base_url, path, X_Request_Id="same", **headers) as got:
        return got.status, b"" if got.status in (200, 101) else got.read_to_end()


@clause("voicebip-3", "voicebip-4", "voicebip-25")
def test_foreign_ids_are_absent_by_key_and_by_query_and_the_conversation_takes_no_query(producer: Producer) -> None:
    other, query = other_workspace(producer), f"?token={producer.key}"
    own = behind(producer.stream("call"), producer.stream("conversation"))
    assert [answer(producer, path + query)[0] for path in own] == [200, 401, 101]
    foreign = behind(other.stream("call"), other.stream("conversation"))
    absent = behind("call_absent", "conversation_absent")
    for theirs, nobodys in zip(foreign, absent, strict=True):
        by_key = {"Authorization": f"Bearer {producer.key}"}
        told = answer(producer, theirs, **by_key)
        assert told[0] == 404
        assert told == answer(producer, nobodys, **by_key)
        assert answer(producer, theirs + query) == answer(producer, nobodys + query)
        assert answer(producer, theirs + query)[0] == (401 if "/conversations/" in theirs else 404)
