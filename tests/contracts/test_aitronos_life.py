"""Document 003 through a session's whole life: beats, cuts, the end, and refusals before anything is looked up."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.conftest import Clocked
from tests.contracts.producer import Producer, key_with, other_workspace

CLOSE = 'event: close\ndata: {"reason":"session_ended"}'


def path_of(session: str) -> str:
    return f"/v1/meeting-buddy/sessions/{session}/stream"


def status(session: str, now: str, before: str | None, **more: Any) -> dict[str, Any]:
    return {
        "session_id": session,
        "status": now,
        "previous_status": before,
        "timestamp": "2025-12-11T10:00:05Z",
        "error_message": None,
        "error_code": None,
        **more,
    }


def joined(session: str, name: str) -> dict[str, Any]:
    return {
        "session_id": session,
        "participant_name": name,
        "event": "joined",
        "timestamp": "2025-12-11T10:01:00Z",
    }


def post(producer: Producer, session: str, data: dict[str, Any]) -> None:
    producer.post("session", session, "status", data)


def error_of(body: bytes, code: str, number: int, session: str) -> dict[str, Any]:
    """The `error` of their envelope, every field of which is looked at."""
    whole = json.loads(body)
    assert set(whole) == {"success", "error"}
    assert whole["success"] is False
    error: dict[str, Any] = whole["error"]
    assert set(error) == {"code", "message", "type", "status", "details", "trace_id", "timestamp"}
    assert (error["code"], error["status"], error["type"]) == (code, number, "client_error")
    assert error["details"] == {"session_id": session}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert re.fullmatch(r"[0-9a-f]{32}", error["trace_id"])
    assert error["timestamp"].endswith("Z")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(error["timestamp"])) < timedelta(seconds=60)
    return error


@clause("aitronos-7", "aitronos-17")
@pytest.mark.parametrize("id", ["invalid_id", "mbsess", "mbsession_1", "MBSESS_1", "xmbsess_1", "550e8400-e29b"])
def test_an_id_without_the_prefix_is_refused_in_their_words(producer: Producer, id: str) -> None:
    answer = producer.get(path_of(id))
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/json"
    error = error_of(answer.content, "INVALID_SESSION_ID_FORMAT", 422, id)
    assert error["message"] == "Invalid session_id format. Must start with 'mbsess_'"


@clause("aitronos-17")
def test_it_is_refused_before_any_look_up(producer: Producer) -> None:
    """Nobody can read the streams meanwhile: who needs them waits, and a malformed id is answered all the same."""
    authorization = f"Bearer {producer.key}"
    producer.get(path_of("mbsess_absent"))  # the key is known, the connections are there
    with psycopg.connect(producer.server.database_url) as connection:
        connection.execute("LOCK TABLE streams IN ACCESS EXCLUSIVE MODE")
        with wire.get(producer.base_url, path_of("mbsess_absent"), Authorization=authorization) as waiting:
            waiting.read_for(wire.QUIET_SECONDS)
            assert waiting.head == b"", "the look-up is held up"
            with wire.get(producer.base_url, path_of("invalid_id"), Authorization=authorization) as refused:
                assert refused.status == 422
                error_of(refused.read_to_end(), "INVALID_SESSION_ID_FORMAT", 422, "invalid_id")
            assert waiting.head == b""
            connection.rollback()
            assert waiting.status == 404


@clause("aitronos-16", "aitronos-23")
def test_unknown_and_foreign_sessions_are_not_found_field_by_field(producer: Producer) -> None:
    foreign = other_workspace(producer).stream("session")
    messages = set()
    for id in ("mbsess_absent", foreign):
        answer = producer.get(path_of(id))
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/json"
        messages.add(error_of(answer.content, "SESSION_NOT_FOUND", 404, id)["message"])
    assert messages == {"Session not found"}


@clause("aitronos-13", "aitronos-18")
def test_every_other_refusal_has_the_same_envelope(producer: Producer) -> None:
    session = producer.stream("session")
    for headers, code, number in (
        ({"Authorization": ""}, "UNAUTHORIZED", 401),
        ({"Authorization": "Bearer pk_nonsense"}, "UNAUTHORIZED", 401),
        ({"Authorization": "", "X-API-Key": producer.key}, "UNAUTHORIZED", 401),
        ({"Authorization": f"Bearer {key_with(producer, 'publish')}"}, "FORBIDDEN", 403),
        ({"Last-Event-ID": "yesterday"}, "BAD_REQUEST", 400),
    ):
        answer = producer.get(path_of(session), **headers)
        assert answer.status_code == number, headers
        error_of(answer.content, code, number, session)
    answer = producer.get(f"{path_of(session)}?token={producer.key}", Authorization="")
    error_of(answer.content, "UNAUTHORIZED", 401, session)


@clause("aitronos-4", "aitronos-5")
def test_a_keepalive_comes_every_fifteen_seconds_and_no_sooner(clocked: Clocked) -> None:
    producer = clocked.producer
    with producer.watch(path_of(producer.stream("session"))) as stream:
        for beats in range(3):
            clocked.clock.move(14.5)
            stream.read_for(wire.QUIET_SECONDS)
            assert stream.body == b": keepalive\n" * beats
            clocked.clock.move(0.5)
            stream.read_until(lambda beats=beats: stream.body == b": keepalive\n" * (beats + 1))
        assert not stream.closed


@clause("aitronos-6", "aitronos-9", "aitronos-11", "aitronos-12", "aitronos-19", "aitronos-21", "aitronos-22")
@pytest.mark.parametrize("last", ["completed", "failed"])
def test_a_session_from_joining_over_a_cut_to_the_end(producer: Producer, last: str) -> None:
    session = producer.stream("session")
    said = [
        status(session, "joining", None),
        status(session, "active", "joining"),
        joined(session, "Alice"),
        status(
            session, last, "active", **({"error_message": "Gone", "error_code": "GONE"} if last == "failed" else {})
        ),
    ]
    with producer.watch(path_of(session)) as stream:
        post(producer, session, said[0])
        stream.read_frames(1)
        seen = wire.fields(stream.frames()[0])["id"]
    post(producer, session, said[1])  # while nobody watches
    with (
        producer.watch(path_of(session), Last_Event_ID=seen) as back,
        producer.watch(path_of(session), Last_Event_ID="900") as ahead,
    ):
        post(producer, session, said[2])
        post(producer, session, said[3])
        back.read_to_end()
        *frames, closing = back.frames()
        ahead.read_to_end()
        assert ahead.frames() == back.frames()[1:]  # as one without a cursor: what comes from now on
    assert [wire.fields(frame)["event"] for frame in frames] == ["status"] * 3
    assert [json.loads(wire.fields(frame)["data"]) for frame in frames] == said[1:]
    assert closing == CLOSE
    with producer.watch(path_of(session)) as late:  # it is over: the last status, and close
        late.read_to_end()
        shown, closing = (wire.fields(frame) for frame in late.frames())
    assert json.loads(shown["data"]) == said[3]
    assert (closing["event"], closing["data"]) == ("close", '{"reason":"session_ended"}')
    with producer.watch(path_of(session), Last_Event_ID=seen) as behind:  # it is over, with more to show
        behind.read_to_end()
        assert [json.loads(wire.fields(frame)["data"]) for frame in behind.frames()[:-1]] == said[1:]
    for at_the_end in (shown["id"], closing.get("id", shown["id"]), "99"):
        answer = producer.get(path_of(session), **{"Last-Event-ID": at_the_end})
        assert (answer.status_code, answer.content) == (204, b"")


@clause("aitronos-2", "aitronos-6")
def test_a_session_that_is_ended_by_hand_closes_as_well_and_shows_status_alone(producer: Producer) -> None:
    session = producer.stream("session")
    with producer.watch(path_of(session)) as stream:
        producer.post("session", session, "transcript", {"text": "is for another view"})
        post(producer, session, status(session, "active", None))
        producer.end("session", session)
        stream.read_to_end()
        assert [wire.fields(frame)["event"] for frame in stream.frames()] == ["status", "close"]
        assert stream.frames()[-1] == CLOSE
