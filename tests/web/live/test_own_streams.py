"""A workspace's own streams are followed as any other, by SSE and WebSocket."""

from __future__ import annotations

import json
import uuid

from tests.contracts import wire
from tests.contracts.producer import Producer
from tests.processes import RunningServer


def test_a_workspaces_own_stream_is_followed(server: RunningServer) -> None:
    producer = Producer(server)
    event = {"type": "user.created", "data": {"n": 1}, "idempotency_key": uuid.uuid4().hex, "metadata": {"by": "test"}}
    first = producer.ask("POST", "/v1/events", event, 202)
    path = f"/v1/streams/_workspace/{first['stream']['id']}"
    after = f"?after_seq={first['seq'] - 1}"
    token = producer.ask("POST", f"{path}/tokens", {}, 201)["token"]
    with (
        producer.watch(f"{path}/live{after}") as by_key,
        wire.get(server.base_url, f"{path}/live{after}&token={token}") as by_token,
    ):
        for stream in (by_key, by_token):
            (frame,) = stream.read_frames(1)
            shown = json.loads(wire.fields(frame)["data"])
            assert (shown["id"], shown["metadata"], shown["data"]) == (first["id"], {"by": "test"}, {"n": 1})
            assert shown["stream"] == first["stream"]
