"""Many producers at once, over HTTP: each stream's seqs are 1 to n, and a key is one event."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.processes import RunningServer
from tests.web.live.watching import open_path

PRODUCERS = 8
EACH = 1000


def session(server: RunningServer) -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    made.headers.update(server.headers)
    return made


def produce(server: RunningServer, streams: list[str], number: int) -> list[dict[str, Any]]:
    """Post EACH events in requests of mixed sizes, each to a stream by chance; the answers."""
    chance, answers = random.Random(number), []
    with session(server) as http:
        while len(answers) < EACH:
            size = min(EACH - len(answers), chance.choice([1, 7, 30, 100]))
            events = [
                {"stream": {"kind": "note", "id": chance.choice(streams)}, "type": "note.added", "data": {"by": number}}
                for _ in range(size)
            ]
            answer = http.post(f"{server.base_url}/v1/events", json=events, timeout=30)
            assert answer.status_code == 202, answer.text
            answers += answer.json()["data"]
    return answers


@pytest.mark.parametrize("count", [1, 100])
def test_eight_producers_of_a_thousand_events_leave_no_hole(server: RunningServer, count: int) -> None:
    streams = [f"s_{uuid.uuid4().hex}" for _ in range(count)]
    with ThreadPoolExecutor(PRODUCERS) as pool:
        answers = [one for part in pool.map(lambda n: produce(server, streams, n), range(PRODUCERS)) for one in part]
    assert len({one["id"] for one in answers}) == PRODUCERS * EACH
    seqs: dict[str, list[int]] = {}
    for one in answers:
        seqs.setdefault(one["stream"]["id"], []).append(one["seq"])
    for given in seqs.values():
        assert sorted(given) == list(range(1, len(given) + 1))
    with session(server) as http:
        heads = {
            name: http.get(f"{server.base_url}/v1/streams/note/{name}", timeout=10).json()["last_seq"] for name in seqs
        }
        longest = max(seqs, key=lambda name: len(seqs[name]))
        http.post(f"{server.base_url}/v1/streams/note/{longest}/end", timeout=10)
    assert heads == {name: len(given) for name, given in seqs.items()}
    path = f"/v1/streams/note/{longest}/live?after_seq=0"
    with open_path(server, path, Authorization=f"Bearer {server.workspace_key}") as watch:
        watch.read_until(lambda: watch.whole, 30)
        assert watch.seqs == list(range(1, len(seqs[longest]) + 1))


def test_fifty_requests_at_once_with_one_key_are_one_event(server: RunningServer) -> None:
    stream = {"kind": "note", "id": f"s_{uuid.uuid4().hex}"}
    url, body = f"{server.base_url}/v1/events", {"stream": stream, "type": "note.added", "data": {}}
    headers = {**server.headers, "Idempotency-Key": "the-same"}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: requests.post(url, json=body, headers=headers, timeout=20), range(50)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 200: 49}
    assert len({(answer.json()["id"], answer.json()["seq"]) for answer in answers}) == 1
    assert Counter(answer.json()["duplicate"] for answer in answers) == {False: 1, True: 49}


@pytest.mark.parametrize("length", [10, 250, 255])
def test_a_batch_that_is_repeated_under_one_header_is_the_same_events(server: RunningServer, length: int) -> None:
    """Also with a key so long that the place in the batch does not fit behind it."""
    stream = {"kind": "note", "id": f"s_{uuid.uuid4().hex}"}
    events = [{"stream": stream, "type": "note.added", "data": {"n": number}} for number in range(12)]
    answers = []
    for name in ("a", "a", "b"):
        headers = {**server.headers, "Idempotency-Key": "k" * (length - 1) + name}
        answers.append(
            requests.post(f"{server.base_url}/v1/events", json=events, headers=headers, timeout=20).json()["data"]
        )
    assert [one["seq"] for one in answers[0]] == list(range(1, 13))
    assert [one["id"] for one in answers[1]] == [one["id"] for one in answers[0]]
    assert {one["duplicate"] for one in answers[1]} == {True}
    assert [one["seq"] for one in answers[2]] == list(range(13, 25))


def test_what_is_wrong_with_one_event_of_a_batch_is_said_in_its_place(server: RunningServer) -> None:
    stream = f'{{"kind":"note","id":"s_{uuid.uuid4().hex}"}}'
    good = f'{{"stream":{stream},"type":"a","data":{{}}}}'
    bad = {
        "unknown field": f'{{"stream":{stream},"type":"a","data":{{}},"\\ud800":1}}',
        "NUL": f'{{"stream":{stream},"type":"a","data":{{"x":"\\u0000"}}}}',
        "deeper": f'{{"stream":{stream},"type":"a","data":{"[" * 70}{"]" * 70}}}',
        "reserved": f'{{"stream":{stream},"type":"error","data":{{}}}}',
        "no object": "7",
    }
    for form, join in (("application/json", ","), ("application/x-ndjson", "\n")):
        body = join.join([good, *bad.values(), good])
        answer = requests.post(
            f"{server.base_url}/v1/events",
            data=f"[{body}]" if join == "," else body,
            headers={**server.headers, "Content-Type": form},
            timeout=10,
        )
        assert answer.status_code == 202, answer.text
        lines = answer.text.split("\n")[:-1]
        found = answer.json()["data"] if join == "," else [json.loads(line) for line in lines]
        assert [one.get("status", 0) for one in found] == [0, 422, 422, 400, 422, 422, 0]
        assert found[-1]["seq"] == found[0]["seq"] + 1
    assert "Traceback" not in server.web.log_text()
