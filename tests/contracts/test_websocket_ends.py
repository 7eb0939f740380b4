"""How a WebSocket ends, with the code that says whether to come back; the canonical one; dead peers; cookies."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.embedded import EmbeddedRedis
from tests.conftest import StartServer, _servers
from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.conftest import Clocked
from tests.contracts.producer import Producer, other_workspace

# A contract of the reader's own: quick heartbeats, and a WebSocket that takes the console's cookie.
OWN = """
name = "door"
about = "A door that can be watched from the console"

[[streams]]
kind = "door"
ends = [{ type = "door.gone" }]

[[routes]]
name = "events"
does = "websocket"
path = "/doors/{door_id}/events"
kind = "door"
id = "path:door_id"
credentials = ["key:bearer", "token:query", "session:cookie"]
frame = { event = false, id = false, data = "payload" }
closing = { data = { bye = "$stream_id" } }
inbound_type = "door.control"
heartbeat_seconds = 1
replay = "cursor"
overflow = "catch_up"
ended = "replay"

[[events]]
kind = "door"
type = "door.gone"
schema = '{"type": "object"}'
example = { why = "wall" }

[[events]]
kind = "door"
type = "door.control"
schema = '{"type": "object"}'
example = { type = "open", data = {} }
"""


@pytest.fixture(scope="module")
def own(new_database, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Producer]:  # type: ignore[no-untyped-def]
    """A server with that contract, whose stream tokens live for 5 s."""
    folder: Path = tmp_path_factory.mktemp("contracts")
    (folder / "door.toml").write_text(OWN)
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield Producer(next(servers)(CONTRACTS_DIR=str(folder), STREAM_TOKEN_SECONDS="5"))
    next(servers, None)


def open_socket(producer: Producer, path: str, **headers: str) -> wire.WebSocket:
    """With the key as a bearer unless `Authorization` is given (empty: none)."""
    given = {"Authorization": f"Bearer {producer.key}", **headers}
    return wire.WebSocket(producer.base_url, path, **{name: value for name, value in given.items() if value})


def seqs(socket: wire.WebSocket) -> list[int]:
    return [json.loads(text)["seq"] for text in socket.texts]


@clause("voicebip-32")
@pytest.mark.parametrize("by", ["an event", "the producer"])
def test_the_end_of_the_call_closes_with_1000_behind_its_last_event(producer: Producer, by: str) -> None:
    call = producer.stream("call")
    with open_socket(producer, f"/v1/calls/{call}/events") as ours:
        assert ours.status == 101
        producer.post("call", call, "call.idle_silence", {})
        if by == "an event":
            producer.post("call", call, "call.ended", {"reason": "hangup"})
        else:
            producer.end("call", call)
        assert ours.read_close() == 1000
        assert seqs(ours) == ([1, 2] if by == "an event" else [1])
        ours.send(wire.PING, b"still there?")
        ours.say("not an object")
        ours.send(wire.CLOSE, b"\x03\xe8")
        ours.read_end()
        assert ours.received[-1].opcode == wire.CLOSE, "nothing follows a Close frame (RFC 6455 section 5.5.1)"


@clause("voicebip-32")
def test_revoked_credentials_and_a_removed_workspace_close_with_1008(producer: Producer) -> None:
    other = other_workspace(producer)
    call = other.stream("call")
    event = other.post("call", call, "call.started", {})
    workspace = other.ask("GET", f"/v1/events/{event['id']}")["workspace_id"]
    path = f"/v1/calls/{call}/events"
    key = other.ask("POST", "/v1/keys", {"name": "one", "scopes": ["subscribe"]}, 201)
    token = other.ask("POST", f"/v1/streams/call/{call}/tokens", None, 201)["token"]
    (listed,) = other.ask("GET", f"/v1/streams/call/{call}/tokens")["data"]
    with (
        open_socket(other, path, Authorization=f"Bearer {key['key']}") as by_key,
        open_socket(other, f"{path}?token={token}", Authorization="") as by_token,
        open_socket(other, path) as by_other_key,
    ):
        assert [by_key.status, by_token.status, by_other_key.status] == [101, 101, 101]
        other.ask("DELETE", f"/v1/keys/{key['id']}", None, 204)
        other.ask("DELETE", f"/v1/streams/call/{call}/tokens/{listed['id']}", None, 204)
        assert by_key.read_close(20) == by_token.read_close(20) == 1008
        assert by_other_key.close_code is None
        Producer(producer.server, producer.server.platform_key).ask("DELETE", f"/v1/workspaces/{workspace}")
        assert by_other_key.read_close(20) == 1008


@clause("voicebip-32")
def test_a_token_that_expires_closes_with_1008(own: Producer) -> None:
    door = own.stream("door")
    token = own.ask("POST", f"/v1/streams/door/{door}/tokens", None, 201)["token"]
    live = f"/v1/streams/door/{door}/ws"
    path = f"{live}?token={token}"
    with open_socket(own, path, Authorization="") as by_token, open_socket(own, live) as by_key:
        assert by_token.status == by_key.status == 101
        assert by_token.read_close(20) == 1008
        assert b"fresh" in by_token.received[-1].payload
        by_key.read_for(wire.QUIET_SECONDS)
        assert by_key.close_code is None
    with open_socket(own, path, Authorization="") as refused:
        assert refused.status == 401


@clause("voicebip-32")
def test_a_restart_closes_with_1012_and_the_server_ends_well(start_server: StartServer) -> None:
    producer = Producer(start_server())
    call, path = producer.stream("call"), "/v1/streams/call/{}/ws"
    with open_socket(producer, f"/v1/calls/{call}/events") as one, open_socket(producer, path.format(call)) as two:
        assert one.status == two.status == 101
        producer.session.close()  # an idle connection would be waited for
        producer.server.web.send_signal(signal.SIGTERM)
        for socket in (one, two):
            assert socket.read_close(20) == 1012
            socket.send(wire.CLOSE, b"\x03\xf4")
            socket.read_end()
    producer.server.stop()
    assert "Traceback" not in producer.server.web.log_text()


@clause("voicebip-27")
def test_a_peer_that_answers_no_ping_is_let_go_and_one_that_does_stays(clocked: Clocked) -> None:
    producer = clocked.producer
    path = f"/v1/calls/{producer.stream('call')}/events"
    with open_socket(producer, path) as dead, open_socket(producer, path) as alive:
        assert dead.status == alive.status == 101
        for pings in (1, 2):
            clocked.clock.move(30)
            alive.read_until(lambda pings=pings: alive.received.count(wire.Frame(wire.PING, b"")) == pings)
            dead.read_until(lambda pings=pings: dead.received.count(wire.Frame(wire.PING, b"")) == pings)
            alive.send(wire.PONG, b"")
        alive.read_for(wire.QUIET_SECONDS)  # for the last pong to arrive
        assert not dead.closed
        clocked.clock.move(20)  # 80 s without a word: more than two and a half beats
        dead.read_end()
        assert not alive.closed
        alive.send(wire.PING, b"here")
        alive.read_until(lambda: wire.Frame(wire.PONG, b"here") in alive.received)


@clause("voicebip-27")
def test_a_contract_says_how_often_it_pings(own: Producer) -> None:
    with open_socket(own, f"/doors/{own.stream('door')}/events") as silent:
        assert silent.status == 101
        silent.read_end(20)  # cut, as it answers nothing
        assert set(silent.received) == {wire.Frame(wire.PING, b"")}
        assert len(silent.received) >= 2


def test_a_closing_frame_of_the_contract_comes_before_the_close(own: Producer) -> None:
    door = own.stream("door")
    with open_socket(own, f"/doors/{door}/events") as ours:
        assert ours.status == 101
        own.post("door", door, "door.gone", {"why": "wall"})
        assert ours.read_close() == 1000
        assert ours.texts == ['{"why":"wall"}', json.dumps({"bye": door}, separators=(",", ":"))]


def test_a_cookie_opens_a_websocket_for_pages_of_this_origin_only(own: Producer) -> None:
    answer = own.session.post(f"{own.base_url}/v1/session", timeout=15)
    assert answer.status_code == 204
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    path = f"/doors/{own.stream('door')}/events"
    for origin, status in (
        ({"Origin": own.base_url}, 101),
        ({}, 101),  # no page: a program that holds the cookie itself
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": own.base_url.rpartition(":")[0] + ":1"}, 403),
    ):
        with open_socket(own, path, Authorization="", Cookie=cookie, **origin) as ours:
            assert ours.status == status, origin
    with open_socket(own, path, Authorization=f"Bearer {own.key}", Origin="https://elsewhere.example") as by_key:
        assert by_key.status == 101  # a page that has a key or a token is not confused with the person's session


def test_the_canonical_websocket_goes_on_behind_after_seq_and_shows_the_types_asked_for(producer: Producer) -> None:
    call = producer.stream("call")
    for type in ("call.started", "call.transcript", "call.idle_silence", "call.barge_in"):
        producer.post("call", call, type, {})
    path = f"/v1/streams/call/{call}/ws"
    with (
        open_socket(producer, f"{path}?after_seq=1") as behind,
        open_socket(producer, path, Last_Event_ID="2") as by_header,
        open_socket(producer, f"{path}?after_seq=0&types=call.transcript,call.i*,call.ended") as bad,
        open_socket(producer, f"{path}?after_seq=0&types=call.transcript,call.ended") as some,
        open_socket(producer, path) as fresh,
        open_socket(producer, f"{path}?after_seq=900") as ahead,
    ):
        assert bad.status in (400, 422)
        assert fresh.status == 101
        assert ahead.read_texts(1) == ['{"type":"reset","last_seq":4}']
        producer.post("call", call, "call.ended", {})
        assert json.loads(ahead.read_texts(2)[1])["seq"] == 5
        for socket, expected in (
            (behind, [2, 3, 4, 5]),
            (by_header, [3, 4, 5]),
            (some, [2, 5]),
            (fresh, [5]),
        ):
            assert socket.read_close() == 1000
            assert seqs(socket) == expected
    with open_socket(producer, f"{path}?after_seq=3") as late:  # an ended stream is shown again, then it is over
        assert late.read_close() == 1000
        assert seqs(late) == [4, 5]


def test_the_canonical_websocket_takes_no_texts_and_no_key_in_the_query(producer: Producer) -> None:
    call = producer.stream("call")
    path = f"/v1/streams/call/{call}/ws"
    token = producer.ask("POST", f"/v1/streams/call/{call}/tokens", None, 201)["token"]
    with open_socket(producer, f"{path}?token={producer.key}", Authorization="") as refused:
        assert refused.status == 401
    with open_socket(producer, f"{path}?token={token}", Authorization="") as ours:
        assert ours.status == 101
        ours.say('{"type":"dtmf","data":{}}')
        assert json.loads(ours.read_texts(1)[0])["error"]["code"] == "bad_request"
    assert producer.ask("GET", f"/v1/events?stream_kind=call&stream_id={call}")["data"] == []
