"""Events come out of bytes the same way, however the bytes were cut."""

from __future__ import annotations

import pytest

from app.client.parse import EventParser, StreamEvent

EVERYTHING = (
    "\ufeff: hello\n\n"
    'event: note\nid: 1\ndata: {"text":"emoji 😀, Hebrew שלום, cafe\u0301"}\n\n'
    "id: 2\r\ndata: raw \u2028 and \u2029 and \u0085 stay inside\r\n\r\n"
    ": keepalive\n\n"
    "retry: 250\revent: old mac\rdata: one\rdata: two\r\r"
    "data:no space\ndata:  two spaces\nignored: yes\nid\n\n"
    "event: without data\n\n"
    "data\n\n"
    "data: never finished"
).encode()

EVENTS = [
    StreamEvent("note", '{"text":"emoji 😀, Hebrew שלום, cafe\u0301"}', "1"),
    StreamEvent("message", "raw \u2028 and \u2029 and \u0085 stay inside", "2"),
    StreamEvent("old mac", "one\ntwo", "2"),
    StreamEvent("message", "no space\n two spaces", ""),
    StreamEvent("message", "", ""),
]


def parse(*pieces: bytes) -> list[StreamEvent]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_the_whole_at_once() -> None:
    assert parse(EVERYTHING) == EVENTS


def test_cut_in_two_at_every_byte() -> None:
    for cut in range(len(EVERYTHING) + 1):
        assert parse(EVERYTHING[:cut], EVERYTHING[cut:]) == EVENTS, f"cut at byte {cut}"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_in_pieces_of_a_few_bytes(size: int) -> None:
    assert parse(*(EVERYTHING[at : at + size] for at in range(0, len(EVERYTHING), size))) == EVENTS


def test_an_event_is_out_as_soon_as_its_blank_line_is_in_even_with_bare_cr() -> None:
    parser = EventParser()
    assert list(parser.feed(b"data: now\r\r")) == [StreamEvent("message", "now", "")]
    assert list(parser.feed(b"\ndata: next\n\n")) == [StreamEvent("message", "next", "")]


def test_the_last_event_id_counts_only_once_its_event_is_complete() -> None:
    parser = EventParser(last_event_id="7")
    list(parser.feed(b"id: 8\ndata: half"))
    assert parser.last_event_id == "7"
    list(parser.feed(b"\n\n"))
    assert parser.last_event_id == "8"


def test_an_id_with_a_nul_and_a_retry_with_letters_are_ignored() -> None:
    parser = EventParser(last_event_id="7")
    assert list(parser.feed("id: 8\0\nretry: 3s\nretry: ٣\ndata: x\n\n".encode())) == [StreamEvent("message", "x", "7")]
    assert parser.retry_ms is None


def test_invalid_utf_8_becomes_the_replacement_character() -> None:
    assert parse(b"data: a\xff\xe2\x80", b"\n\n") == [StreamEvent("message", "a\ufffd\ufffd", "")]
