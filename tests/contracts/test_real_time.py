"""Heartbeats by the wall clock: every contract's streams side by side, for as long as the slowest takes."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer

TOLERANCE_SECONDS = 1.5  # the hub looks every quarter of a second; the rest is for a busy machine
KEEPALIVE = b": keepalive\n"


@clause("serveka-16", "voicebip-23", "voicebip-26", "voicebip-27", "atoms-25", "aitronos-4", "aitronos-5")
def test_silence_is_kept_alive_at_the_contracts_own_pace(producer: Producer) -> None:
    bot, call = producer.stream("bot"), producer.stream("call")
    conversation, session = producer.stream("conversation"), producer.stream("session")
    path, token = producer.mint(bot)
    seconds = {
        f"{path}?token={token}": 15,
        f"/atoms/v1/events?callId={call}": 15,
        f"/v1/meeting-buddy/sessions/{session}/stream": 15,
        f"/v1/calls/{call}/transcript": 30,
        f"/v1/conversations/{conversation}/stream": 30,
    }
    with ExitStack() as stack:
        socket = stack.enter_context(
            wire.WebSocket(producer.base_url, f"/v1/calls/{call}/events", Authorization=f"Bearer {producer.key}")
        )
        assert socket.status == 101
        streams = {path: stack.enter_context(producer.watch(path)) for path in seconds if "token=" not in path}
        streams |= {p: stack.enter_context(wire.get(producer.base_url, p)) for p in seconds if "token=" in p}
        paces: set[int] = set()
        for path, stream in sorted(streams.items(), key=lambda pair: seconds[pair[0]]):
            stream.read_until(lambda stream=stream: KEEPALIVE in stream.body, 32)  # type: ignore[misc]
            took = time.monotonic() - stream.opened_at
            if (
                seconds[path] not in paces
            ):  # the first of each pace is read as it comes, the others when it is their turn
                assert abs(took - seconds[path]) < TOLERANCE_SECONDS, (path, took)
            paces.add(seconds[path])
        socket.read_until(lambda: bool(socket.received), 5)
        assert str(socket.received[0]) == "PING"
        for path, stream in streams.items():
            stream.read_for(0.1)
            assert stream.body.count(KEEPALIVE) == 30 // seconds[path], path
        # However long they were silent, they live.
        producer.post("conversation", conversation, "message.received", {"text": "still there?"})
        streams[f"/v1/conversations/{conversation}/stream"].read_frames(1)
