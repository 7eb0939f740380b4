"""Document 000: a bot's stream, opened by a token that is minted with the key."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from app.core import tokens
from app.live import tokens as stream_tokens
from app.settings import Settings
from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.conftest import Clocked
from tests.contracts.producer import Producer, other_workspace
from tests.processes import eventually

STATUS = {"status": "active", "timestamp": "2026-05-04T10:00:00Z"}
SPOKEN = {"speaker": "Alice", "text": "Shall we start?", "timestamp": "2026-05-04T10:00:05Z", "is_final": True}


def subscribe(producer: Producer, bot: str, **headers: str) -> wire.Connection:
    """Mint a fresh token and open the stream with it."""
    path, token = producer.mint(bot)
    connection = wire.get(producer.base_url, path, Authorization=f"Bearer {token}", **headers)
    assert connection.status == 200, connection.body
    return connection


def ids(connection: wire.Connection) -> list[int]:
    return [int(wire.fields(frame)["id"]) for frame in connection.frames()]


def spoken(number: int) -> dict[str, Any]:
    return SPOKEN | {"text": f"sentence {number}"}


@clause("serveka-3")
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer {key}"}, {"X-API-Key": "pk_wrong"}])
def test_minting_takes_the_key_in_its_own_header_alone(producer: Producer, headers: dict[str, str]) -> None:
    bot = producer.stream("bot")
    given = {"Authorization": "", **{name: value.format(key=producer.key) for name, value in headers.items()}}
    with wire.get(producer.base_url, f"/api/v1/bots/{bot}/subscribe?token={producer.key}", method="POST",
                  Content_Length="0", **{name.replace("-", "_"): value for name, value in given.items() if value},
                  ) as refused:  # fmt: skip
        assert refused.status == 401
        assert refused.headers["content-type"] == "application/problem+json"


@clause("serveka-2", "serveka-4", "serveka-5", "serveka-6")
def test_the_token_is_a_jwt_of_five_minutes_for_the_url_beside_it(producer: Producer) -> None:
    bot = producer.stream("bot")
    answer = producer.ask("POST", f"/api/v1/bots/{bot}/subscribe", None, 200, **{"X-API-Key": producer.key})
    assert set(answer) == {"url", "token"}
    assert answer["url"] == f"{producer.base_url}/sse/{bot}"
    head, claims, _ = (json_of(part) for part in answer["token"].split("."))
    assert head == {"alg": "HS256", "typ": "JWT"}
    assert claims["sub"] == bot
    assert 299 <= claims["exp"] - time.time() <= 302


def json_of(part: str) -> Any:
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    return json.loads(raw) if raw.startswith(b"{") else raw


@clause("serveka-7", "serveka-8")
def test_the_token_opens_the_stream_as_a_bearer_and_in_the_query(producer: Producer) -> None:
    path, token = producer.mint(producer.stream("bot"))
    with wire.get(producer.base_url, path, Authorization=f"Bearer {token}") as by_header:
        assert by_header.status == 200
    with wire.get(producer.base_url, f"{path}?token={token}") as by_query:
        assert by_query.status == 200


@clause("serveka-9", "serveka-10", "serveka-11", "serveka-12", "serveka-13", "serveka-14", "serveka-15")
def test_every_type_is_an_event_of_its_name_with_its_fields(producer: Producer) -> None:
    bot = producer.stream("bot")
    events: list[tuple[str, dict[str, Any]]] = [
        ("bot_status", STATUS),
        ("participant_update", {"participants": ["Alice", "Bob"]}),
        ("transcript_segment", SPOKEN | {"text": "Shall", "is_final": False}),
        ("transcript_segment", SPOKEN),
        ("action_detected", {"action_type": "create_task", "data": {"title": "Send the minutes"}}),
        ("recording_ready", {"recording_url": "https://recordings.example.com/r_1.mp4"}),
    ]
    with subscribe(producer, bot) as stream:
        for type, data in events:
            producer.post("bot", bot, type, data)
        frames = [wire.fields(frame) for frame in stream.read_frames(len(events))]
    assert [(frame["event"], json.loads(frame["data"])) for frame in frames] == events


@clause("serveka-17", "serveka-25", "serveka-26")
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_the_stream_closes_with_the_bots_last_status(clocked: Clocked, status: str) -> None:
    producer = clocked.producer
    bot = producer.stream("bot")
    last = {"status": status, "timestamp": "2026-05-04T11:00:00Z"}
    with subscribe(producer, bot) as stream:
        producer.post("bot", bot, "bot_status", last)
        stream.read_frames(1)
        clocked.clock.move(59)
        stream.read_for(wire.QUIET_SECONDS)
        assert not stream.whole  # a recording may follow
        clocked.clock.move(1)
        stream.read_to_end()
        whole = stream.shown.replace(b": keepalive\n", b"")
    frame = f"event: bot_status\nid: 1\ndata: {json.dumps(last, separators=(',', ':'))}\n\n".encode()
    assert whole == frame
    producer.age("bot", bot, 3600)
    with subscribe(producer, bot) as late:  # long after: the final status, and the end
        late.read_to_end()
        assert late.shown == frame
    path, token = producer.mint(bot)
    with wire.get(producer.base_url, path, Authorization=f"Bearer {token}", Last_Event_ID="1") as again:
        assert again.status == 204


RECORDING = {"recording_url": "https://recordings.example.com/r_1.mp4"}
COMPLETED = {"status": "completed", "timestamp": "2026-05-04T11:00:00Z"}


def bodies(stream: wire.Connection) -> list[tuple[str, str]]:
    return [(one["event"], one["id"]) for one in map(wire.fields, stream.frames())]


@clause("serveka-17", "serveka-25", "serveka-26", "serveka-29")
def test_a_recording_that_is_ready_after_the_end_reaches_who_is_there_and_who_comes(producer: Producer) -> None:
    bot = producer.stream("bot")
    canonical = f"/v1/streams/bot/{bot}/live"
    with subscribe(producer, bot) as early, producer.watch(canonical) as ours:
        producer.post("bot", bot, "bot_status", COMPLETED)
        for stream in (early, ours):
            stream.read_frames(1)
        refused = {"stream": {"kind": "bot", "id": bot}, "type": "transcript_segment", "data": SPOKEN}
        assert producer.ask("POST", "/v1/events", refused, 409)["code"] == "stream_ended"
        with subscribe(producer, bot) as new, subscribe(producer, bot, Last_Event_ID="1") as back:
            new.read_frames(1)
            answer = producer.post("bot", bot, "recording_ready", RECORDING)
            assert answer["seq"] == 2
            for stream in (early, ours, new, back):
                stream.read_to_end()
            seen = [("bot_status", "1"), ("recording_ready", "2")]
            assert [bodies(stream) for stream in (early, ours, new, back)] == [seen, seen, seen, seen[1:]]
    with subscribe(producer, bot) as late, producer.watch(canonical) as replayed:  # nothing more is waited for
        for stream in (late, replayed):
            stream.read_to_end()
            assert bodies(stream) == seen
    path, token = producer.mint(bot)
    assert producer.get(path, **{"Authorization": f"Bearer {token}", "Last-Event-ID": "2"}).status_code == 204
    stream_now = producer.ask("GET", f"/v1/streams/bot/{bot}")
    assert (stream_now["status"], stream_now["last_seq"]) == ("ended", 2)
    read_back = producer.ask("GET", f"/v1/events?stream_kind=bot&stream_id={bot}&after_seq=1")["data"]
    assert [one["data"] for one in read_back] == [RECORDING]


@clause("serveka-17", "serveka-29")
def test_a_recording_that_was_ready_before_the_end_is_not_waited_for(producer: Producer) -> None:
    bot = producer.stream("bot")
    with subscribe(producer, bot) as stream:
        producer.post("bot", bot, "recording_ready", RECORDING)
        producer.post("bot", bot, "bot_status", COMPLETED)
        stream.read_to_end()
        assert bodies(stream) == [("recording_ready", "1"), ("bot_status", "2")]


def test_a_bot_that_was_ended_without_a_status_does_not_call_back_for_ever(producer: Producer) -> None:
    """Each answer either tells something new or says stop, whatever the order of the last events was."""
    bot = producer.stream("bot")
    producer.post("bot", bot, "bot_status", STATUS)
    producer.post("bot", bot, "transcript_segment", SPOKEN)
    producer.end("bot", bot)
    producer.age("bot", bot, 60)
    with subscribe(producer, bot) as late:
        late.read_to_end()
        assert ids(late) == [1]
    path, token = producer.mint(bot)
    with wire.get(producer.base_url, path, Authorization=f"Bearer {token}", Last_Event_ID="1") as again:
        assert again.status == 204


def test_a_bot_that_was_ended_and_has_nothing_to_show_calls_nobody_back(producer: Producer) -> None:
    bot = producer.stream("bot")
    producer.end("bot", bot)
    producer.age("bot", bot, 60)
    path, token = producer.mint(bot)
    assert producer.get(path, Authorization=f"Bearer {token}").status_code == 204


@clause("serveka-19", "serveka-20")
@pytest.mark.parametrize(("headers", "expected"), [({"Last_Event_ID": "1"}, [4, 5, 6]), ({}, [4, 5, 6])])
def test_what_is_older_than_thirty_seconds_is_not_replayed(
    producer: Producer, headers: dict[str, str], expected: list[int]
) -> None:
    bot = producer.stream("bot")
    producer.post_many("bot", bot, "transcript_segment", [spoken(number) for number in range(3)])
    producer.age("bot", bot, 20)
    producer.post_many("bot", bot, "transcript_segment", [spoken(number) for number in range(3, 5)])
    producer.age("bot", bot, 20)  # the first three are 40 s old now, the others 20 s
    with subscribe(producer, bot, **headers) as back:
        producer.post("bot", bot, "transcript_segment", spoken(5))
        back.read_frames(3)
        assert ids(back) == expected


@clause("serveka-21")
def test_a_slow_reader_catches_up_and_loses_nothing(producer: Producer) -> None:
    bot = producer.stream("bot")
    path, token = producer.mint(bot)
    with wire.get(producer.base_url, path, receive_buffer=4096, Authorization=f"Bearer {token}") as stream:
        assert stream.status == 200
        before = producer.metric("twofold_catch_ups_total")
        for start in range(0, 400, 100):
            texts = [SPOKEN | {"text": f"{number} " + "x" * 3000} for number in range(start, start + 100)]
            producer.post_many("bot", bot, "transcript_segment", texts)
        stream.read_frames(400, seconds=30)
        assert ids(stream) == list(range(1, 401))
    # The figures are brought up to date once a second.
    eventually(lambda: producer.metric("twofold_catch_ups_total") > before, about="the catch-up in the figures")


@clause("serveka-22", "serveka-24")
def test_every_token_but_the_right_one_is_refused(producer: Producer) -> None:
    bot, other = producer.stream("bot"), producer.stream("bot")
    path, token = producer.mint(bot)
    _, for_other = producer.mint(other)
    head, claims, signature = token.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    wrong = [
        for_other,
        f"{head}.{claims}.{signature[:-2]}xx",
        f"{unsigned}.{claims}.",
        producer.key,
        expired(producer, bot),
    ]
    for bad in wrong:
        for refused in (
            producer.get(path, Authorization=f"Bearer {bad}"),
            producer.get(f"{path}?token={bad}", Authorization=""),
        ):
            assert refused.status_code == 401, bad
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert refused.json()["code"] == "unauthorized"
    assert producer.get(path, Authorization="").status_code == 401
    with wire.get(producer.base_url, path, Authorization=f"Bearer {token}") as stream:
        assert stream.status == 200


def expired(producer: Producer, bot: str) -> str:
    """A token in order in every way, but for its time."""
    settings = Settings.from_env(producer.server.env)
    claims = tokens.Claims("tok_01k00000000000000000000000", "bot", bot, int(time.time()) - 1)
    return tokens.encode(stream_tokens.signing_keys(settings)[0], claims, int(time.time()) - 301)


@clause("serveka-22")
def test_a_revoked_token_opens_nothing(producer: Producer) -> None:
    bot = producer.stream("bot")
    path, token = producer.mint(bot)
    (listed,) = producer.ask("GET", f"/v1/streams/bot/{bot}/tokens")["data"]
    producer.ask("DELETE", f"/v1/streams/bot/{bot}/tokens/{listed['id']}", None, 204)
    assert producer.get(path, Authorization=f"Bearer {token}").status_code == 401


@clause("serveka-23")
def test_an_open_stream_is_closed_when_its_token_expires(clocked: Clocked) -> None:
    bot = clocked.producer.stream("bot")
    with subscribe(clocked.producer, bot) as stream:
        clocked.clock.move(298)
        stream.read_for(wire.QUIET_SECONDS)
        assert not stream.whole
        clocked.clock.move(4)
        stream.read_to_end()
        assert stream.shown.replace(b": keepalive\n", b"") == b""


@clause("serveka-24", "serveka-28")
def test_another_customers_bot_is_not_there(producer: Producer) -> None:
    theirs = other_workspace(producer).stream("bot")
    answers = [
        producer.session.post(
            f"{producer.base_url}/api/v1/bots/{bot}/subscribe",
            headers={"X-API-Key": producer.key, "X-Request-Id": "same"},
            timeout=10,
        )
        for bot in (theirs, "bot_absent")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
