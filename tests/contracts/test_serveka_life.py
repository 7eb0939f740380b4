"""Document 000 through a bot's whole life, with tokens that really run out: cuts, fresh tokens, the 30 s, the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.local.embedded import EmbeddedRedis
from tests.conftest import _servers
from tests.contracts import wire
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer

TOKEN_SECONDS = 5  # the shortest life that the settings allow
COMPLETED = {"status": "completed", "timestamp": "2026-05-04T11:00:00Z"}


@pytest.fixture(scope="module")
def hasty(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Producer]:
    """A server whose stream tokens live for 5 s."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield Producer(next(servers)(STREAM_TOKEN_SECONDS=str(TOKEN_SECONDS)))
    next(servers, None)


def spoken(text: str) -> dict[str, Any]:
    return {"speaker": "Alice", "text": text, "timestamp": "2026-05-04T10:00:05Z", "is_final": True}


def say(producer: Producer, bot: str, *texts: str) -> None:
    producer.post_many("bot", bot, "transcript_segment", [spoken(text) for text in texts])


def subscribe(producer: Producer, bot: str, **headers: str) -> wire.Connection:
    """Mint a fresh token and open the stream with it."""
    path, token = producer.mint(bot)
    connection = wire.get(producer.base_url, path, Authorization=f"Bearer {token}", **headers)
    assert connection.status == 200, connection.head
    return connection


def shown(connection: wire.Connection, count: int) -> list[str]:
    """The texts of so many segments; nothing else has come."""
    frames = [wire.fields(frame) for frame in connection.read_frames(count)]
    assert {frame["event"] for frame in frames} == {"transcript_segment"}
    return [json.loads(frame["data"])["text"] for frame in frames]


@clause("serveka-18", "serveka-19", "serveka-20", "serveka-25", "serveka-26")
def test_a_bot_is_watched_over_two_cuts_to_its_end(producer: Producer) -> None:
    bot = producer.stream("bot")
    with subscribe(producer, bot) as stream:
        say(producer, bot, "one", "two")
        assert shown(stream, 2) == ["one", "two"]
    say(producer, bot, "three", "four")
    producer.age("bot", bot, 20)  # a cut of 20 s: nothing is missing
    with subscribe(producer, bot, Last_Event_ID="2") as stream:
        say(producer, bot, "five")
        assert shown(stream, 3) == ["three", "four", "five"]
    say(producer, bot, "six")
    producer.age("bot", bot, 20)
    say(producer, bot, "seven")
    producer.age("bot", bot, 20)  # of a cut of 40 s, the first half is gone
    with subscribe(producer, bot, Last_Event_ID="5") as stream:
        say(producer, bot, "eight")
        assert shown(stream, 2) == ["seven", "eight"]
    with subscribe(producer, bot, Last_Event_ID="900") as ahead:  # such a stream there is not: as without a cursor
        assert shown(ahead, 2) == ["seven", "eight"]
    with subscribe(producer, bot) as new:  # without a cursor: the last 30 s
        assert shown(new, 2) == ["seven", "eight"]
        producer.post("bot", bot, "recording_ready", {"recording_url": "https://recordings.example.com/r_1.mp4"})
        producer.post("bot", bot, "bot_status", COMPLETED)
        new.read_to_end()
        assert wire.fields(new.frames()[-1])["event"] == "bot_status"
    producer.age("bot", bot, 3600)
    with subscribe(producer, bot) as late:
        late.read_to_end()
        (frame,) = late.frames()
        assert (wire.fields(frame)["event"], json.loads(wire.fields(frame)["data"])) == ("bot_status", COMPLETED)
    path, token = producer.mint(bot)
    authorization, last = f"Bearer {token}", wire.fields(frame)["id"]
    with wire.get(producer.base_url, path, Authorization=authorization, Last_Event_ID=last) as stop:
        assert stop.status == 204


@clause("serveka-19", "serveka-20")
@pytest.mark.parametrize(("seconds", "kept"), [(25, True), (31, False)])
def test_thirty_seconds_are_kept(producer: Producer, seconds: float, kept: bool) -> None:
    bot = producer.stream("bot")
    say(producer, bot, "before")
    producer.age("bot", bot, seconds)
    say(producer, bot, "after")
    with subscribe(producer, bot) as stream:
        say(producer, bot, "live")
        expected = ["before", "after", "live"] if kept else ["after", "live"]
        assert shown(stream, len(expected)) == expected


@clause("serveka-6", "serveka-18", "serveka-19", "serveka-22", "serveka-23")
def test_a_stream_is_closed_when_its_token_has_run_out_and_goes_on_with_a_fresh_one(hasty: Producer) -> None:
    bot = hasty.stream("bot")
    path, token = hasty.mint(bot)
    query = f"{path}?token={token}"
    with (
        wire.get(hasty.base_url, path, Authorization=f"Bearer {token}") as by_header,
        wire.get(hasty.base_url, query) as by_query,
    ):
        assert by_header.status == by_query.status == 200
        say(hasty, bot, "one")
        for stream in (by_header, by_query):
            assert shown(stream, 1) == ["one"]
            stream.read_to_end(4 * TOKEN_SECONDS)  # the answer is completed, not broken off
            assert shown(stream, 1) == ["one"]
    for refused in (hasty.get(path, Authorization=f"Bearer {token}"), hasty.get(query, Authorization="")):
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    say(hasty, bot, "two")
    with subscribe(hasty, bot, Last_Event_ID="1") as stream:
        say(hasty, bot, "three")
        assert shown(stream, 2) == ["two", "three"]


@clause("serveka-3", "serveka-4", "serveka-22", "serveka-28")
def test_a_key_mints_a_token_opens_and_each_for_its_own_bot_alone(producer: Producer) -> None:
    bot, other = producer.stream("bot"), producer.stream("bot")
    minting = f"/api/v1/bots/{bot}/subscribe"
    answer = producer.session.post(
        producer.base_url + minting, headers={"Authorization": "", "X-API-Key": producer.key}, timeout=15
    )
    assert (answer.status_code, sorted(answer.json())) == (200, ["token", "url"])
    path, token = answer.json()["url"].removeprefix(producer.base_url), answer.json()["token"]
    by_bearer = producer.session.post(producer.base_url + minting, timeout=15)
    with_a_token = producer.session.post(
        producer.base_url + minting, headers={"Authorization": "", "X-API-Key": token}, timeout=15
    )
    assert by_bearer.status_code == with_a_token.status_code == 401
    assert producer.get(path, Authorization=f"Bearer {producer.key}").status_code == 401
    assert producer.get(f"{path}?token={producer.key}", Authorization="").status_code == 401
    assert producer.get(path, **{"Authorization": "", "X-API-Key": producer.key}).status_code == 401
    for wrong in (f"/sse/{other}", "/sse/bot_absent"):
        assert producer.get(wrong, Authorization=f"Bearer {token}").status_code == 401, wrong
    with wire.get(producer.base_url, path, Authorization=f"Bearer {token}") as opened:
        assert opened.status == 200
