"""What was posted is what the stream shows, byte for byte, whatever its size and its letters."""

from __future__ import annotations

import json

import httpx
import pytest
import requests
from httpx_sse import connect_sse
from sseclient import SSEClient

from tests.processes import RunningServer
from tests.web.live.watching import Stage

FIDELITY = '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\\u2028é😀"}'
PAYLOADS = [
    FIDELITY,
    "{}",
    '{"a":1,"a":2}',
    '{"s":"\u2028\u2029\x85\x7f\ufeff"}',
    '{"s":"a\\r\\nid: 99\\n\\ndata: forged"}',
    '{"half":"\\ud83d","\\udc00":"\\uD83D\\uDE00"}',
    '{"z":-0.0,"y":1E+2,"x":0.10,"w":1e-400,"n":-12345678901234567890123456789}',
    '{"quotes":"\\"\\\\\\/","data":{"data":{}}}',
    '{"rtl":"שלום","zwj":"👩‍👩‍👧","nul":"\\\\u0000"}',
    '{"big":"' + "b" * 9000 + '"}',  # beyond what the bus carries
    '{"after":"big"}',
]  # fmt: skip


@pytest.fixture
def stage(server: RunningServer) -> Stage:
    """A stream of its own."""
    made = Stage(server)
    made.post("{}")
    return made


def test_payloads_arrive_as_they_were_spelled_live_and_replayed(stage: Stage) -> None:
    with stage.watching() as live:
        stage.post(*PAYLOADS)
        live.read_events(len(PAYLOADS))
        stage.end()
        live.read_to_end()
    with stage.watching("?after_seq=1") as replayed:
        replayed.read_to_end()
    assert replayed.shown == live.shown
    for event, posted in zip(live.events, PAYLOADS, strict=True):
        assert event.data.endswith(f',"seq":{event.id},"data":{posted}}}')
        assert event.type == "note.added"
    stored = stage.ask("GET", f"/v1/events?stream_kind=note&stream_id={stage.id}&after_seq=1").content
    assert stored == b'{"data":[' + b",".join(event.data.encode() for event in live.events) + b'],"next_cursor":null}'


def test_only_white_space_outside_strings_is_dropped(stage: Stage) -> None:
    with stage.watching() as watch:
        stage.post('{ "a" :\t[ 1 ,\n 2.50 ] , "b" : " c  d " }')
        (event,) = watch.read_events(1)
        assert event.data.endswith('"data":{"a":[1,2.50],"b":" c  d "}}')


def test_large_and_small_events_come_in_order(stage: Stage) -> None:
    """A quarter of a mebibyte each: none fits the bus, and none fits a socket's buffer."""
    sizes = [250_000, 10, 8_000, 8_300, 250_000, 100_000, 10, 250_000]
    with stage.watching() as watch:
        for size in sizes:
            stage.post('{"x":"' + "é" * (size // 2) + '"}')
        events = watch.read_events(len(sizes), 20)
        assert watch.seqs == list(range(2, len(sizes) + 2))
        assert [len(json.loads(event.data)["data"]["x"].encode()) for event in events] == [
            size // 2 * 2 for size in sizes
        ]


def test_an_event_beyond_the_limit_is_refused(stage: Stage) -> None:
    stage.post('{"x":"' + "x" * (256 * 1024 - 150) + '"}')
    body = f'{{"stream":{{"kind":"note","id":"{stage.id}"}},"type":"a","data":{{"x":"{"x" * 256 * 1024}"}}}}'
    json_type = {"Content-Type": "application/json"}
    assert stage.ask("POST", "/v1/events", status=413, data=body, headers=json_type).json()["code"] == "too_large"


def test_clients_that_others_wrote_read_the_same(stage: Stage) -> None:
    stage.post(*PAYLOADS)
    stage.end()
    url = f"{stage.server.base_url}{stage.live}?after_seq=1"
    expected = [(str(number), "note.added", payload) for number, payload in enumerate(PAYLOADS, 2)]

    def read(events: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        return [(id, type, data.partition(',"data":')[2][:-1]) for id, type, data in events]

    with (
        httpx.Client(trust_env=False) as client,
        connect_sse(client, "GET", url, headers=stage.server.headers) as source,
    ):
        assert read([(one.id, one.event, one.data) for one in source.iter_sse()]) == expected
    with requests.get(url, headers=stage.server.headers, stream=True, timeout=10) as response:
        assert read([(one.id, one.event, one.data) for one in SSEClient(response).events()]) == expected
