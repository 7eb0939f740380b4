"""The page's own modules, run where they run: the reader of server-sent events, and JSON kept as it is spelled."""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import Chromium
from tests.contracts.producer import Producer

PARSE = """
import("/static/event-stream.js").then(({ EventStreamParser }) => {
  const seen = [];
  const parser = new EventStreamParser(
    (event) => seen.push([event.type, event.lastId, event.data]),
    (milliseconds) => seen.push(milliseconds),
  );
  for (const piece of %s) parser.push(piece);
  return seen;
})
"""
STREAM = (
    ": keepalive\nevent: a\nid: 1\ndata: {}\n\nretry: 250\n\ndata: one\ndata:two\ndata\n\n"
    "event: dropped\n\nid: 2\r\ndata:  \u2028\u0085é😀\r\n\r\nretry: soon\rdata: cr\r\rdata: unfinished\n"
)
EVENTS = [
    ["a", "1", "{}"],
    250,
    ["message", "1", "one\ntwo\n"],
    ["message", "2", " \u2028\u0085é😀"],
    ["message", "2", "cr"],
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_whatever_the_pieces_that_they_come_in(
    chromium: Chromium, producer: Producer, size: int
) -> None:
    page = chromium.page(f"{producer.base_url}/live/any/stream")
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert page.run(PARSE % json.dumps(pieces)) == EVENTS


LAY_OUT = "import('/static/json-text.js').then(({ member, pretty }) => pretty(member(%s, 'data')))"
LONG = "x" * 80


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("{}", "{}"),
        ('{"n":1.0,"big":12345678901234567890,"e":1E5}', '{"n": 1.0, "big": 12345678901234567890, "e": 1E5}'),
        ('{"a":[1,{"b":[]}],"data":"} ] , : \\" \\\\"}', '{"a": [1, {"b": []}], "data": "} ] , : \\" \\\\"}'),
        ('{"a":"' + LONG + '","b":[{},1]}', '{\n  "a": "' + LONG + '",\n  "b": [\n    {},\n    1\n  ]\n}'),
        ("null", "null"),
        ('"text"', '"text"'),
    ],
)
def test_a_payload_is_shown_as_it_was_spelled(chromium: Chromium, producer: Producer, data: str, shown: str) -> None:
    page = chromium.page(f"{producer.base_url}/live/any/stream")
    envelope = '{"id":"evt_1","type":"a","stream":{"kind":"call","id":"data"},"seq":1,"data":' + data + "}"
    assert page.run(LAY_OUT % json.dumps(envelope)) == shown


TIMED = "(() => { const at = performance.now(); return (%s).then(() => performance.now() - at); })()"


def test_a_quarter_of_a_megabyte_is_laid_out_at_once(chromium: Chromium, producer: Producer) -> None:
    page = chromium.page(f"{producer.base_url}/live/any/stream")
    text = json.dumps({"data": {"a": "\\" * 100_000, "b": [1] * 10_000}})
    assert page.run(TIMED % (LAY_OUT % json.dumps(text))) < 1000
