"""Document 003: a session's status, and `close` at the end."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from app.database.connection import Database
from tests.conftest import StartServer
from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer

CLOSE = b'event: close\ndata: {"reason":"session_ended"}\n\n'


def path_of(session: str) -> str:
    return f"/v1/meeting-buddy/sessions/{session}/stream"


def status(session: str, status: str = "active", **more: Any) -> dict[str, Any]:
    told = {"session_id": session, "status": status, "previous_status": "joining", "timestamp": "2025-12-11T10:00:30Z"}
    return told | {"error_message": None, "error_code": None} | more


def joined(session: str, name: str = "Alice", event: str = "joined") -> dict[str, Any]:
    return {"session_id": session, "participant_name": name, "event": event, "timestamp": "2025-12-11T10:01:00Z"}


def seqs(connection: wire.Connection) -> list[int]:
    return [int(found["id"]) for frame in connection.frames() if "id" in (found := wire.fields(frame))]


@clause("aitronos-1", "aitronos-2", "aitronos-8", "aitronos-9", "aitronos-10", "aitronos-12")
def test_every_form_of_a_status_comes_as_it_was_told_and_nothing_else(producer: Producer) -> None:
    session = producer.stream("session")
    told = [
        status(session, "joining", previous_status=None),
        joined(session),
        joined(session, event="left"),
        status(session, "failed", error_message="The meeting has ended", error_code="MEETING_ENDED"),
    ]
    with producer.watch(path_of(session)) as stream:
        producer.post("session", session, "transcript", {"text": "another stream's business"})
        for data in told:
            producer.post("session", session, "status", data)
        stream.read_to_end()
        *frames, close = stream.frames()
    assert [json.loads(wire.fields(frame)["data"]) for frame in frames] == told
    for frame in frames:
        name, _, data = frame.split("\n")
        assert name == "event: status"
        assert data.startswith("data: {")
    assert f"{close}\n\n".encode() == CLOSE


@clause("aitronos-6", "aitronos-11", "aitronos-21", "aitronos-22")
@pytest.mark.parametrize("last", ["completed", "failed"])
def test_close_is_the_last_thing_and_whoever_comes_later_sees_it_too(producer: Producer, last: str) -> None:
    session = producer.stream("session")
    frame = f"event: status\nid: 1\ndata: {json.dumps(status(session, last), separators=(',', ':'))}\n\n".encode()
    with producer.watch(path_of(session)) as stream:
        producer.post("session", session, "status", status(session, last))
        assert stream.read_to_end() == frame + CLOSE
    with producer.watch(path_of(session)) as late:
        assert late.read_to_end() == frame + CLOSE.replace(b"data:", b"id: 1\ndata:")
    assert producer.get(path_of(session), **{"Last-Event-ID": "1"}).status_code == 204


@clause("aitronos-21", "aitronos-22")
def test_a_session_of_which_nothing_was_told_closes_too(producer: Producer) -> None:
    session = producer.stream("session")
    producer.end("session", session)
    with producer.watch(path_of(session)) as late:
        assert late.read_to_end() == b'event: close\nid: 0\ndata: {"reason":"session_ended"}\n\n'
    assert producer.get(path_of(session), **{"Last-Event-ID": "0"}).status_code == 204


@clause("aitronos-6")
def test_somebody_who_leaves_or_another_status_closes_nothing(producer: Producer) -> None:
    session = producer.stream("session")
    with producer.watch(path_of(session)) as stream:
        producer.post("session", session, "status", joined(session, event="left"))
        producer.post("session", session, "status", status(session, "stopping"))
        stream.read_frames(2)
        stream.read_for(wire.QUIET_SECONDS)
        assert not stream.whole
        assert len(stream.frames()) == 2


def check_envelope(
    body: dict[str, Any], code: str, status: int, session: str, trace: str, fault: str = "client"
) -> None:
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    error = body["error"]
    assert list(error) == ["code", "message", "type", "status", "details", "trace_id", "timestamp"]
    assert (error["code"], error["status"], error["type"]) == (code, status, f"{fault}_error")
    assert error["details"] == {"session_id": session}
    assert error["trace_id"] == trace
    assert error["message"]
    assert datetime.fromisoformat(error["timestamp"]).tzinfo is not None


@clause("aitronos-18")
def test_a_database_that_is_away_is_told_in_the_envelope_too(start_server: StartServer) -> None:
    server = start_server()
    producer = Producer(server)
    session = producer.stream("session")
    database = Database(server.database_url)
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE streams RENAME TO streams_away")
    database.close()
    refused = producer.get(path_of(session))
    assert refused.status_code == 503
    check_envelope(refused.json(), "UNAVAILABLE", 503, session, refused.headers["X-Request-Id"], "server")


@clause("aitronos-20")
def test_a_slow_reader_catches_up_and_loses_nothing(producer: Producer) -> None:
    session = producer.stream("session")
    key = f"Bearer {producer.key}"
    with wire.get(producer.base_url, path_of(session), receive_buffer=4096, Authorization=key) as stream:
        assert stream.status == 200
        for _ in range(3):
            payloads = [joined(session, "x" * 3000) for _ in range(100)]
            producer.post_many("session", session, "status", payloads)
        stream.read_frames(300, seconds=30)
        assert seqs(stream) == list(range(1, 301))
