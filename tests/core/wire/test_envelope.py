"""The canonical envelope keeps the producer's spelling, and its parts can be taken out again."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from app.core.wire import envelope, json_text

FIDELITY = '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\\u2028é😀"}'

PAYLOADS = [
    "{}",
    FIDELITY,
    '{"data":{"data":{}}}',
    '{"s":",\\"data\\":{}"}',
    '{"s":"}\\\\"}',
    '{"\\u0064ata":1}',
    '{"a":-0.0,"b":1E+2,"c":0.1000,"d":1e-400}',
    '{"a":"\\ud83d","b":"\\ud83d\\ude00"}',  # half a surrogate pair stays spelled out
    '{"s":"\u2028\u2029\x85 \x7f"}',
    '{"a":1,"a":2}',
]


def encoded(data: str, *, type: str = "call.note", stream_id: str = "call_1", metadata: str = "") -> bytes:
    return envelope.encode(
        id="evt_1",
        type=type,
        timestamp="2026-11-20T10:00:00.123Z",
        workspace_id="ws_1",
        kind="call",
        stream_id=stream_id,
        seq=42,
        data=data,
        metadata=metadata,
    )


def test_an_envelope_byte_for_byte() -> None:
    assert encoded('{"z":1,"a":2}') == (
        b'{"id":"evt_1","type":"call.note","timestamp":"2026-11-20T10:00:00.123Z","workspace_id":"ws_1",'
        b'"stream":{"kind":"call","id":"call_1"},"seq":42,"data":{"z":1,"a":2}}'
    )


def test_metadata_stands_before_the_data_byte_for_byte() -> None:
    assert encoded('{"z":1}', metadata='{"b":1.0,"a":"\\u00e9"}') == (
        b'{"id":"evt_1","type":"call.note","timestamp":"2026-11-20T10:00:00.123Z","workspace_id":"ws_1",'
        b'"stream":{"kind":"call","id":"call_1"},"seq":42,"metadata":{"b":1.0,"a":"\\u00e9"},"data":{"z":1}}'
    )


@pytest.mark.parametrize(
    "metadata",
    ["", '{"data":"x","a":1}', '{"a":1,"data":"{"}', '{"a":",\\"data\\":{","metadata":true}', '{"data":null,"seq":7}'],
)
def test_no_metadata_can_pass_for_the_payload(metadata: str) -> None:
    for data in PAYLOADS:
        body = encoded(data, metadata=metadata)
        assert envelope.data_of(body) == data.encode()
        assert envelope.metadata_of(body) == metadata.encode()
        assert json.loads(body).get("metadata", {}) == json.loads(metadata or "{}")


@pytest.mark.parametrize("data", PAYLOADS)
def test_the_payload_comes_out_as_it_went_in(data: str) -> None:
    body = encoded(data)
    assert envelope.data_of(body) == data.encode()
    assert b"\n" not in body
    assert json.loads(body)["seq"] == 42


@pytest.mark.parametrize("stream_id", ['",data":', ',"data":{', "a~b:c@d+e=f-g.h_i", 'quote"back\\slash'])
def test_no_name_of_a_stream_or_type_can_pass_for_the_payload(stream_id: str) -> None:
    body = encoded('{"x":1}', stream_id=stream_id, type=stream_id)
    assert envelope.data_of(body) == b'{"x":1}'
    assert json.loads(body)["stream"]["id"] == json.loads(body)["type"] == stream_id


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("{}", []),
        ("{ }", []),
        ('{"a":1}', [("a", "1", '"a":1')]),
        (' {"a" : [1, 2] , "b":{"c": "}"}} '.strip(), [("a", "[1, 2]", '"a" : [1, 2]'), ("b", '{"c": "}"}', None)]),
        ('{"n":12345678901234567890,"e":1e400}', [("n", "12345678901234567890", None), ("e", "1e400", '"e":1e400')]),
        ('{"\\u0061":1,"a":2}', [("a", "1", '"\\u0061":1'), ("a", "2", '"a":2')]),
        ('{"a\\"b":"c\\\\"}', [('a"b', '"c\\\\"', None)]),
        ('{\n"a"\t:\r\ntrue\n}', [("a", "true", None)]),
        ('{"":null}', [("", "null", None)]),
        ('{"\\ud800":1}', [("\ud800", "1", '"\\ud800":1')]),
    ],
)
def test_members_in_order_with_their_spelling(raw: str, found: list[tuple[str, str, str | None]]) -> None:
    given = json_text.members(raw)
    assert [(name, value) for name, value, _ in given] == [(name, value) for name, value, _ in found]
    for (_, _, member), (_, _, expected) in zip(given, found, strict=True):
        assert expected is None or member == expected


@pytest.mark.parametrize(
    ("raw", "small"),
    [
        ('{ "a" : 1 ,\n\t"b" : [ 1 , 2 ] }', '{"a":1,"b":[1,2]}'),
        ('{"a b":" c  d "}', '{"a b":" c  d "}'),
        ('{"a":"\\" , \\\\" , "b":2 }', '{"a":"\\" , \\\\","b":2}'),
        ('{"a": "\u2028\u00a0"}', '{"a":"\u2028\u00a0"}'),
        ('{"a": 1.50 , "b": 1E5 }', '{"a":1.50,"b":1E5}'),
    ],
)
def test_only_white_space_outside_strings_is_dropped(raw: str, small: str) -> None:
    assert json_text.compact(raw) == small
    assert json.loads(small) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "levels"),
    [
        ("1", 0),
        ('"[[["', 0),
        ("{}", 1),
        ('{"a":[{"b":[]}]}', 4),
        ('{"a":"[{\\"["}', 1),
        ("[[],[[]],[]]", 3),
        ('[{"a":[[]]},[],{},"]]]"]', 4),
        ("[" + "[[[]]]," * 500 + "[]]", 4),
        ("[" * 300 + "]" * 300, 300),
    ],
)
def test_depth_counts_brackets_outside_strings(raw: str, levels: int) -> None:
    assert not json_text.is_deeper(raw, levels)
    assert levels == 0 or json_text.is_deeper(raw, levels - 1)


@pytest.mark.parametrize("raw", ["[" * 100_000, "[{" * 100_000, '{"a":' * 100_000, "[" * 80 + "]" * 10])
def test_what_is_not_even_json_is_not_parsed_when_it_could_be_deep(raw: str) -> None:
    assert json_text.is_deeper(raw, 64)


@pytest.mark.parametrize("raw", ['["abc' + "[" * 999, "]" * 999, "[]" * 999, "}{" * 40, "[1" * 20])
def test_what_is_not_json_and_not_deep_is_left_to_the_parser(raw: str) -> None:
    assert not json_text.is_deeper(raw, 64)


@pytest.mark.parametrize(
    "raw",
    ['"' + '\\"' * 100_000, '"' + "\\\\" * 100_000, '"' + '\\"x' * 60_000 + "\n", '"' * 199_999, "\\" * 199_999],
    ids=["escaped quotes", "backslashes", "escaped quotes, cut", "quotes", "bare backslashes"],
)
def test_a_hostile_text_is_scanned_in_linear_time(raw: str) -> None:
    began = time.thread_time()
    json_text.is_deeper(raw, 64)
    json_text.compact(raw)
    # Of this thread's own processor time, however busy the machine: some 20 ms; quadratic, it would be minutes.
    assert time.thread_time() - began < 2.0


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 20, 10, 0, 0, 123_999, UTC), "2026-11-20T10:00:00.123Z"),
        (datetime(2026, 11, 20, 10, tzinfo=UTC), "2026-11-20T10:00:00.000Z"),
        (datetime(2026, 11, 20, 1, 30, tzinfo=timezone(timedelta(hours=2))), "2026-11-19T23:30:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert envelope.rfc3339(moment) == text


def test_the_hour_that_comes_twice_in_autumn_is_two_hours() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    told = [envelope.rfc3339(one) for one in (first, first.replace(fold=1))]
    assert told == ["2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z"]


@pytest.mark.parametrize(
    ("data", "value"),
    [({"f": "x"}, "x"), ({"f": ""}, ""), ({"f": 1}, None), ({"f": None}, None), ({}, None), ([], None), ("f", None)],
)
def test_a_string_member_or_nothing(data: object, value: str | None) -> None:
    assert envelope.string_value(data, "f") == value


@pytest.mark.parametrize("levels", [1, 60, 299, 1_000_000])
def test_the_time_for_brackets_does_not_grow_with_their_depth(levels: int) -> None:
    """One POST of 4 MB of brackets once held a whole process for four seconds: a pass for each level."""
    deep, flat = (_seconds(("[" * depth + "]" * depth) * (2_000_000 // depth)) for depth in (levels, 1))
    assert deep < 5 * flat + 0.05  # 300 times as long, with a pass for each level


def _seconds(raw: str) -> float:
    began = time.process_time()
    json_text.is_deeper(raw, 300)
    return time.process_time() - began
