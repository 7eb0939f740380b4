"""The full life of a WebSocket (connect, both ways, a cut, back again, the end) with clients that others wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import pytest
import websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.contracts.conformance import clause
from tests.contracts.producer import Producer
from tests.contracts.relay import Relay

SECONDS = 15.0
NORMAL, ABNORMAL = 1000, 1006


class Client(Protocol):
    """One connection."""

    def receive(self) -> dict[str, Any] | int:
        """The next text's value, or the code with which it was closed."""

    def send(self, value: Any) -> None: ...

    def close(self) -> None: ...


class Websockets:
    """The `websockets` package."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        opening = connect(url, additional_headers=headers, open_timeout=SECONDS, proxy=None, close_timeout=1)
        self._open = ExitStack()
        self._socket = self._open.enter_context(opening)

    def receive(self) -> dict[str, Any] | int:
        try:
            value: dict[str, Any] = json.loads(self._socket.recv(timeout=SECONDS))
            return value
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else ABNORMAL

    def send(self, value: Any) -> None:
        self._socket.send(json.dumps(value))

    def close(self) -> None:
        self._open.close()


class WebsocketClient:
    """The `websocket-client` package."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        given = [f"{name}: {value}" for name, value in headers.items()]
        self._socket = websocket.create_connection(
            url, timeout=SECONDS, header=given, suppress_origin=True, http_no_proxy=["*"]
        )

    def receive(self) -> dict[str, Any] | int:
        try:
            opcode, data = self._socket.recv_data()
        except (websocket.WebSocketException, OSError):
            return ABNORMAL
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return int.from_bytes(data[:2], "big")
        value: dict[str, Any] = json.loads(data)
        return value

    def send(self, value: Any) -> None:
        self._socket.send(json.dumps(value))

    def close(self) -> None:
        self._socket.close()
        self._socket.shutdown()  # when the server has closed first, close() leaves the socket open


CLIENTS = {"websockets": Websockets, "websocket-client": WebsocketClient}


def refused_with(client: str, url: str, headers: Mapping[str, str]) -> int:
    """The status with which the handshake is refused."""
    try:
        CLIENTS[client](url, headers).close()
    except InvalidStatus as error:
        return error.response.status_code
    except websocket.WebSocketBadStatusException as error:
        return int(error.status_code)
    return 101


@pytest.mark.parametrize("client", CLIENTS)
@clause("voicebip-10", "voicebip-16", "voicebip-17", "voicebip-19", "voicebip-31", "voicebip-32")
def test_a_client_watches_and_steers_a_call_to_its_end(producer: Producer, client: str) -> None:
    call = producer.stream("call", transport="sip")
    headers = {"Authorization": f"Bearer {producer.key}"}
    with Relay(producer.base_url) as relay:
        url = f"ws{relay.base_url.removeprefix('http')}/v1/calls/{call}/events"
        first = CLIENTS[client](url, headers)
        posted = producer.post("call", call, "call.idle_silence", {"silence_ms": 8000})
        envelope = first.receive()
        assert isinstance(envelope, dict)
        assert (envelope["id"], envelope["type"], envelope["seq"]) == (posted["id"], "call.idle_silence", 1)
        first.send({"type": "dtmf", "data": {"digits": "4#"}})
        control = first.receive()
        assert isinstance(control, dict)
        assert (control["type"], control["data"]) == ("call.control", {"type": "dtmf", "data": {"digits": "4#"}})
        relay.cut()
        assert first.receive() == ABNORMAL
        first.close()
        producer.post("call", call, "call.idle_silence", {"silence_ms": 9000})  # nobody is there: not replayed
        relay.mend()
        second = CLIENTS[client](url, headers)
        producer.post("call", call, "call.quality_degraded", {"metric": "packet_loss", "value": 0.07})
        producer.post("call", call, "call.ended", {})
        told = [second.receive() for _ in range(3)]
        second.close()
        assert [one["seq"] if isinstance(one, dict) else one for one in told] == [4, 5, NORMAL]
        assert refused_with(client, url, headers) == 404
        assert refused_with(client, url, {}) == 401
    listed = producer.ask("GET", f"/v1/events?stream_kind=call&stream_id={call}&type=call.control")["data"]
    assert [event["data"] for event in listed] == [{"type": "dtmf", "data": {"digits": "4#"}}]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_the_canonical_stream_goes_on_behind_its_cursor(producer: Producer, client: str) -> None:
    note = producer.stream("note")
    headers = {"Authorization": f"Bearer {producer.key}"}
    with Relay(producer.base_url) as relay:
        url = f"ws{relay.base_url.removeprefix('http')}/v1/streams/note/{note}/ws"
        first = CLIENTS[client](url, headers)
        producer.post_many("note", note, "note.added", [{"n": n} for n in range(3)])
        assert [seq(first.receive()) for _ in range(3)] == [1, 2, 3]
        relay.cut()
        first.close()
        producer.post_many("note", note, "note.added", [{"n": n} for n in range(3, 6)])
        relay.mend()
        second = CLIENTS[client](f"{url}?after_seq=3", headers)
        assert [seq(second.receive()) for _ in range(3)] == [4, 5, 6]
        producer.end("note", note)
        assert second.receive() == NORMAL
        second.close()
        late = CLIENTS[client](f"{url}?after_seq=5", headers)
        assert [seq(late.receive()), late.receive()] == [6, NORMAL]
        late.close()


def seq(told: dict[str, Any] | int) -> int:
    assert isinstance(told, dict), told
    return int(told["seq"])
