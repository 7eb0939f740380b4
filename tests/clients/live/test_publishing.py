"""A publishing client loses nothing, and repeats nothing, when the server is killed under it."""

from __future__ import annotations

import json

import psutil
import pytest

from app.client.books.bookkeeper import Bookkeeper
from app.client.books.records import members
from tests.clients.live.programs import Programs, Running
from tests.contracts.producer import Producer
from tests.processes import eventually, is_ready
from twofold import Client

EVENTS = 1500
KILLS = 4
SECONDS = 240.0


@pytest.mark.parametrize("client", ["python", "javascript", "go"])
def test_the_books_are_in_order_after_kills_of_web_processes(
    client: str, programs: Programs, producer: Producer
) -> None:
    server, books = producer.server, Bookkeeper()
    stream = ("note", f"killed_{client}")
    keys = [f"{stream[1]}-{n}" for n in range(EVENTS)]
    for n, key in enumerate(keys):
        books.posting(key, stream, "note.added", b'{"n":%d}' % n)
    program = programs.start(client, "publish", server.base_url, server.workspace_key, *stream, str(EVENTS))
    kills = kill_children_of(producer, program, stream)
    program.wait(SECONDS)
    assert kills == KILLS, "it was over before the last kill"
    for answer in program.lines:
        books.acknowledged(answer["key"], answer["id"], answer["seq"])
    assert books.acknowledged_count == EVENTS
    eventually(lambda: is_ready(server.base_url), SECONDS)
    api = Client(server.base_url, server.workspace_key)
    api.streams.end(*stream)
    viewer, numbers = books.viewer("afterwards", stream), []
    for event in api.streams.live(*stream, last_event_id="0"):
        data = dict(members(event.data.encode()))["data"]
        viewer.saw(seq=int(event.id), type=event.type, data=data)
        numbers.append(json.loads(data)["n"])
    assert books.findings() == []
    assert books.is_complete()
    assert numbers == list(range(EVENTS)), "each once, in the order in which they were published"


def kill_children_of(producer: Producer, program: Running, stream: tuple[str, str]) -> int:
    """Kill one web process after the other while the program publishes, each once some more events are stored."""
    kills = 0
    for number in range(1, KILLS + 1):
        eventually(
            lambda least=number * EVENTS // (KILLS + 2): stored(producer, stream) >= least or not program.is_running,
            SECONDS,
            about=lambda: program.errors,
        )
        children = psutil.Process(producer.server.pid).children()
        if program.is_running and children:
            for child in children:  # all at once: for a moment nobody serves
                child.kill()
            kills += 1
    return kills


def stored(producer: Producer, stream: tuple[str, str]) -> int:
    """How many events of the stream are stored; 0 while nobody answers."""
    try:
        answer = producer.get(f"/v1/streams/{stream[0]}/{stream[1]}")
    except OSError:
        return 0
    return int(answer.json()["last_seq"]) if answer.status_code == 200 else 0
