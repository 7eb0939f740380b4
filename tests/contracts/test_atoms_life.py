"""Document 002 through a call's whole life: `sse_init` at once, `sse_close` last, refusals, and the session cookie."""

from __future__ import annotations

import json
import statistics
import time
from datetime import datetime
from typing import Any

import pytest
import requests

from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer, other_workspace

INIT_SECONDS = 0.05  # from the connection to the whole of `sse_init`
MEMBERS = ("event_type", "event_id", "timestamp", "call_id")


def path_of(call: str) -> str:
    return f"/atoms/v1/events?callId={call}"


def data_of(frame: str) -> dict[str, Any]:
    fields = wire.fields(frame)
    assert set(fields) == {"data"}, frame
    found: dict[str, Any] = json.loads(fields["data"])
    return found


def sign_in(producer: Producer, key: str) -> str:
    """The cookie of a session that stands for a key."""
    answer = producer.session.post(
        f"{producer.base_url}/v1/session", headers={"Authorization": f"Bearer {key}"}, timeout=15
    )
    assert answer.status_code == 204, answer.text
    cookie, _, rest = answer.headers["Set-Cookie"].partition(";")
    assert "httponly" in rest.lower()
    assert "samesite=lax" in rest.lower()
    return cookie


@clause("atoms-8", "atoms-15", "atoms-16", "atoms-17", "atoms-18")
def test_sse_init_is_there_within_50_ms(producer: Producer) -> None:
    call = producer.stream("call")
    rounds = []
    for _ in range(4):  # another program may have the processor in one of them
        waits = []
        for _ in range(9):
            with producer.watch(path_of(call)) as stream:
                stream.read_frames(1)
                waits.append(time.monotonic() - stream.opened_at)
                first = data_of(stream.frames()[0])
            assert (first["event_type"], first["call_id"], tuple(first)) == ("sse_init", call, MEMBERS)
            datetime.fromisoformat(first["timestamp"])
        rounds.append(statistics.median(waits))
        if rounds[-1] < INIT_SECONDS:
            break
    shown = ", ".join(f"{1000 * median:.1f}" for median in rounds)
    assert min(rounds) < INIT_SECONDS, f"sse_init after {shown} ms (medians of 9 connections each)"


@clause("atoms-2", "atoms-3", "atoms-9", "atoms-16", "atoms-17", "atoms-18")
@pytest.mark.parametrize("by", ["call_end", "call.ended", "the producer"])
def test_sse_close_comes_right_before_the_end(producer: Producer, by: str) -> None:
    call = producer.stream("call")
    producer.post("call", call, "call_start", {})  # before anybody watches: not shown
    with producer.watch(path_of(call)) as stream:
        producer.post("call", call, "user_transcription", {"user_transcription_text": "Hello?"})
        if by == "the producer":
            producer.end("call", call)
        else:
            producer.post("call", call, by, {"reason": "hangup"})
        stream.read_to_end()
        frames = [data_of(frame) for frame in stream.frames()]
        assert stream.body.endswith(b"\n\n"), "nothing follows the last frame"
    ends = [] if by == "the producer" else [by]
    assert [frame["event_type"] for frame in frames] == ["sse_init", "user_transcription", *ends, "sse_close"]
    assert len({frame["event_id"] for frame in frames}) == len(frames)
    for frame in frames:
        assert set(MEMBERS) <= set(frame)
        assert frame["call_id"] == call
        assert datetime.fromisoformat(frame["timestamp"]).tzinfo is not None


@clause("atoms-4", "atoms-13", "atoms-22", "atoms-23", "atoms-27")
def test_what_cannot_be_watched_is_400_or_404(producer: Producer) -> None:
    ended, foreign = producer.stream("call"), other_workspace(producer).stream("call")
    producer.post("call", ended, "call_end", {})
    bodies = {}
    for path, status in (
        (path_of(ended), 400),
        ("/atoms/v1/events", 400),
        ("/atoms/v1/events?callId=", 400),
        ("/atoms/v1/events?callid=" + ended, 400),
        (path_of("no%20id%21"), 400),
        (path_of("call_absent"), 404),
        (path_of(foreign), 404),
    ):
        answer = producer.get(path, **{"X-Request-Id": "same"})
        assert answer.status_code == status, path
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
        bodies[path] = answer.content
    assert bodies[path_of("call_absent")] == bodies[path_of(foreign)]
    assert "completed" in json.loads(bodies[path_of(ended)])["detail"]
    assert "callId" in json.loads(bodies["/atoms/v1/events"])["detail"]


@clause("atoms-11", "atoms-12")
def test_a_session_opens_the_stream_from_pages_of_this_origin_only(producer: Producer) -> None:
    call = producer.stream("call")
    cookie = sign_in(producer, producer.key)
    for headers, status in (
        ({}, 200),
        ({"Origin": producer.base_url}, 200),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"https://{producer.base_url.partition('//')[2]}.elsewhere.example"}, 403),
    ):
        with wire.get(producer.base_url, path_of(call), Cookie=cookie, **headers) as got:
            assert got.status == status, headers
    for bad in ("", "twofold_session=", "twofold_session=nonsense", cookie[:-2] + "xx", cookie.partition("=")[2]):
        with wire.get(producer.base_url, path_of(call), Cookie=bad) as got:
            assert got.status == 401, bad
    # Only where the contract says so.
    for path in (f"/v1/calls/{call}/transcript", f"/v1/streams/call/{call}/live"):
        with wire.get(producer.base_url, path, Cookie=cookie) as got:
            assert got.status == 401, path


@clause("atoms-12")
def test_revoking_the_key_ends_its_session_and_the_streams_it_has_open(producer: Producer) -> None:
    call = producer.stream("call")
    made = producer.ask("POST", "/v1/keys", {"name": "person", "scopes": ["subscribe"]}, 201)
    cookie = sign_in(producer, made["key"])
    with wire.get(producer.base_url, path_of(call), Cookie=cookie) as stream:
        stream.read_frames(1)
        producer.ask("DELETE", f"/v1/keys/{made['id']}", None, 204)
        stream.read_to_end(20)
        assert [data_of(frame)["event_type"] for frame in stream.frames()] == ["sse_init"]  # the call goes on
    with wire.get(producer.base_url, path_of(call), Cookie=cookie) as refused:
        assert refused.status == 401


@clause("atoms-12")
def test_signing_out_ends_the_session_and_the_streams_it_has_open(producer: Producer) -> None:
    """It needs no key, and a copy of the cookie is worth nothing afterwards."""
    call, cookie = producer.stream("call"), sign_in(producer, producer.key)
    with wire.get(producer.base_url, path_of(call), Cookie=cookie) as stream:
        stream.read_frames(1)
        out = requests.delete(f"{producer.base_url}/v1/session", headers={"Cookie": cookie}, timeout=15)
        assert out.status_code == 204
        stream.read_to_end(20)
        assert [data_of(frame)["event_type"] for frame in stream.frames()] == ["sse_init"]  # the call goes on
    with wire.get(producer.base_url, path_of(call), Cookie=cookie) as refused:
        assert refused.status == 401
    again = requests.delete(f"{producer.base_url}/v1/session", headers={"Cookie": cookie}, timeout=15)
    assert again.status_code == 204


@clause("atoms-12", "atoms-27")
def test_a_session_sees_its_own_workspace_alone(producer: Producer) -> None:
    other = other_workspace(producer)
    cookie = sign_in(producer, producer.key)
    with wire.get(producer.base_url, path_of(other.stream("call")), Cookie=cookie) as refused:
        assert refused.status == 404
