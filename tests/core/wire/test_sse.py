"""Server-sent events byte for byte, and read back by parsers that others wrote."""

from __future__ import annotations

import pytest
from httpx import Response
from httpx_sse import EventSource
from sseclient import SSEClient

from app.client.parse import EventParser
from app.core.wire import sse

TEXT = '{"s":"\u2028\u2029\x85 é😀","n":1.0}'


@pytest.mark.parametrize(
    ("event", "id", "wire"),
    [
        ("call.note", "7", b'event: call.note\nid: 7\ndata: {"a":1}\n\n'),
        (None, "7", b'id: 7\ndata: {"a":1}\n\n'),
        ("close", None, b'event: close\ndata: {"a":1}\n\n'),
        (None, None, b'data: {"a":1}\n\n'),
    ],
)
def test_a_frame_is_event_id_data_and_an_empty_line(event: str | None, id: str | None, wire: bytes) -> None:
    assert sse.frame(event, id, b'{"a":1}') == wire


def test_heartbeats_have_an_empty_line_only_on_demand() -> None:
    assert sse.comment("keepalive", blank_line=False) == b": keepalive\n"
    assert sse.comment("ping", blank_line=True) == b": ping\n\n"


def test_retry_and_chunks() -> None:
    assert sse.retry(2500) == b"retry: 2500\n"
    assert sse.chunk(b"x" * 255) == b"ff\r\n" + b"x" * 255 + b"\r\n"
    assert sse.chunk("é\n".encode()) == b"3\r\n\xc3\xa9\n\r\n"


WIRE = b"".join(
    [
        sse.comment("keepalive", blank_line=False),
        sse.frame("a.b", "1", TEXT.encode()),
        sse.comment("keepalive", blank_line=True),
        sse.frame(None, "2", b"{}"),
        sse.retry(1234),
        sse.frame("c", None, b'{"x":": y"}'),
    ]
)
EVENTS = [("a.b", "1", TEXT), ("message", "2", "{}"), ("c", "2", '{"x":": y"}')]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_our_parser_reads_them_in_pieces_of_any_size(size: int) -> None:
    parser = EventParser()
    found = [event for at in range(0, len(WIRE), size) for event in parser.feed(WIRE[at : at + size])]
    assert [(event.type, event.id, event.data) for event in found] == EVENTS
    assert parser.retry_ms == 1234


def test_the_parsers_of_other_projects_read_the_same() -> None:
    response = Response(200, headers={"Content-Type": "text/event-stream"}, content=WIRE)
    theirs = [(event.event, event.id, event.data) for event in EventSource(response).iter_sse() if event.data]
    assert theirs == EVENTS
    theirs = [(event.event, event.id, event.data) for event in SSEClient([WIRE]).events()]
    assert [(type, id or "2", data) for type, id, data in theirs] == EVENTS  # it does not remember the last id
