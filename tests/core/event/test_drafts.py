"""Posted bytes become drafts or refusals: what is read, what is refused, and with which words."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType

import pytest

from app.core.event.drafts import Draft, read_event, with_key
from app.core.problem import Problem
from app.core.wire.json_text import split_array

STREAM = '"stream":{"kind":"call","id":"call_1"}'
GOOD = f'{{{STREAM},"type":"call.note","data":{{}}}}'
BIG = 256 * 1024


def event(**changed: str) -> str:
    """An event's text with raw JSON in some of its fields; None leaves a field out."""
    fields = {"stream": '{"kind":"call","id":"call_1"}', "type": '"call.note"', "data": "{}"} | changed
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items() if value) + "}"


def read(text: str | bytes) -> Draft:
    return read_event(text if isinstance(text, bytes) else text.encode(), BIG, 64)


def refusal(text: str | bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        read(text)
    return caught.value


def test_an_event_is_read() -> None:
    text = event(occurred_at='"2026-11-20T12:00:00.5+02:00"', idempotency_key='"k-1"', data='{ "b": 1, "a": 1.0 }')
    assert read(text) == Draft(
        kind="call",
        stream_id="call_1",
        type="call.note",
        data='{"b":1,"a":1.0}',
        value={"b": 1, "a": 1.0},
        occurred_at=datetime(2026, 11, 20, 10, 0, 0, 500_000, UTC),
        idempotency_key="k-1",
    )


def test_what_may_be_left_out_may_also_be_null() -> None:
    draft = read(event(occurred_at="null", idempotency_key="null"))
    assert draft.occurred_at is None
    assert draft.idempotency_key is None
    assert read(event(metadata="null", channels="null")) == read(event(metadata="{}", channels="[]")) == read(GOOD)


def test_an_event_without_a_stream_belongs_to_one_of_the_workspaces_own() -> None:
    drafts = [read(event(stream="", idempotency_key=f'"k{number}"')) for number in range(200)]
    assert {(one.kind, one.stream_id) for one in drafts} == {("_workspace", f"events-{n}") for n in range(1, 9)}
    unkeyed = [read(event(stream="", data=f'{{"n":{number}}}')) for number in range(200)]
    assert {one.stream_id for one in unkeyed} == {one.stream_id for one in drafts}


def test_a_key_has_the_same_place_wherever_it_stands() -> None:
    for number in range(20):
        beside = read(event(stream="", data=f'{{"n":{number}}}', idempotency_key=f'"k{number}"'))
        assert with_key(read(event(stream="", data=f'{{"n":{number}}}')), f"k{number}") == beside
        assert with_key(beside, "other") == beside
    named = with_key(read(GOOD), "k1")
    assert (named.kind, named.stream_id, named.idempotency_key) == ("call", "call_1", "k1")
    assert with_key(read(GOOD), None) == read(GOOD)


def test_labels_and_notes_are_read() -> None:
    metadata = '{ "request_id": "r_1", "attempt": 12345678901234567890, "late": true, "none": null, "data": "x" }'
    draft = read(event(metadata=metadata, channels='["team:billing","a","team:billing"]'))
    assert draft.channels == ("team:billing", "a")
    assert draft.metadata == {
        "request_id": "r_1", "attempt": 12345678901234567890, "late": True, "none": None, "data": "x",
    }  # fmt: skip
    assert draft.metadata_text == metadata.replace(" ", "")


def test_labels_and_notes_at_their_limits() -> None:
    channels = [f"{number:064}" for number in range(10)]
    metadata = {f"{number:064}": "é" * 500 for number in range(50)}
    draft = read(event(channels=json.dumps(channels), metadata=json.dumps(metadata)))
    assert (draft.channels, draft.metadata) == (tuple(channels), metadata)


@pytest.mark.parametrize(
    "data",
    [
        '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\\u2028é😀"}',
        '{"n":' + "9" * 5000 + "}",  # more digits than CPython turns into an int
        '{"n":-' + "9" * 4299 + ',"m":0.' + "1" * 5000 + "}",
        '{"s":"\u2028\u2029\x85"}',
        '{"half":"\\ud83d","\\udc00":1}',
        '{"cr":"a\\r\\nid: 7\\n\\n"}',
        '{"a":1,"a":2}',  # twice in the payload is the producer's own business
        '{"s":"\\\\u0000"}',  # a backslash and a u: no NUL
        '{"deep":' + "[" * 61 + "]" * 61 + "}",
        '{"\\u0064ata":"\\"data\\":"}',
    ],
)
def test_the_payload_keeps_its_spelling(data: str) -> None:
    assert read(event(data=data)).data == data


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "invalid_json", "empty"),
        (b" \r\n\t ", "invalid_json", "empty"),
        (b"\xef\xbb\xbf" + GOOD.encode(), "invalid_json", "byte order mark"),
        (GOOD.encode("utf-16"), "invalid_json", "UTF-8: byte 0"),
        (GOOD.encode()[:-1], "invalid_json", "not valid JSON"),
        (GOOD.encode() + b"x", "invalid_json", "line 1, column"),
        (GOOD.encode() + GOOD.encode(), "invalid_json", "extra data"),
        (b"{'a': 1}", "invalid_json", "double quotes"),
        (b"\xc2\xa0" + GOOD.encode(), "invalid_json", "not valid JSON"),  # a no-break space is no white space here
        (event(data='{"a":"\xff"}').encode("latin-1"), "invalid_json", "UTF-8: byte"),
        (event(data='{"a":"\xed\xa0\x80"}').encode("latin-1"), "invalid_json", "UTF-8: byte"),  # a surrogate in UTF-8
        (event(data='{"a":"\xc0\x80"}').encode("latin-1"), "invalid_json", "UTF-8: byte"),  # an overlong NUL
        (event(data='{"a":"\0"}').encode(), "invalid_json", "control character"),
        (event(data='{"a":"b\nc"}').encode(), "invalid_json", "control character"),
        (b"\0", "invalid_json", "not valid JSON"),
        (event(data='{"a":"\\u0000"}').encode(), "invalid", "NUL"),
        (event(data='{"a\\u0000":1}').encode(), "invalid", "NUL"),
        (event(data='{"a":"\\\\\\u0000"}').encode(), "invalid", "NUL"),
        (event(data='{"a":NaN}').encode(), "invalid_json", "NaN is not JSON"),
        (event(data='{"a":Infinity}').encode(), "invalid_json", "Infinity is not JSON"),
        (event(data='{"a":-Infinity}').encode(), "invalid_json", "-Infinity is not JSON"),
        (event(data='{"a":01}').encode(), "invalid_json", "not valid JSON"),
        (event(data='{"a":1.}').encode(), "invalid_json", "not valid JSON"),
        (event(data='{"a":+1}').encode(), "invalid_json", "not valid JSON"),
        (event(data='{"a":"\\x41"}').encode(), "invalid_json", "escape"),
        (event(data="{,}").encode(), "invalid_json", "not valid JSON"),
        (event(data="[" * 64 + "]" * 64).encode(), "invalid_json", "deeper than 64"),
        (b"[" * 200_000, "invalid_json", "deeper than 64"),
        (b'{"data":' * 10_000, "invalid_json", "deeper than 64"),
        (GOOD.encode() + b" " * BIG, "too_large", f"the most is {BIG}"),
        (b"[]", "invalid", "must be a JSON object"),
        (b"null", "invalid", "must be a JSON object"),
        (b'"text"', "invalid", "must be a JSON object"),
        (f'{{{STREAM},"type":"a","data":{{}},"data":{{}}}}'.encode(), "invalid", "twice"),
        (f'{{{STREAM},"type":"a","data":{{}},"\\u0064ata":{{}}}}'.encode(), "invalid", "twice"),
        (event(stream='{"kind":"call","id":"a","id":"b"}').encode(), "invalid", "twice"),
        (event(metadata='{"a":1,"a":1}').encode(), "invalid", "twice"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(body: bytes, code: str, words: str) -> None:
    problem = refusal(body)
    assert problem.code == code
    assert words in problem.detail


WRONG_FIELDS = [
    ("stream", "null"),
    ("stream.kind", '{"kind":"_workspace","id":"events-1"}'),
    ("stream.kind", '{"kind":"_workspaces","id":"a"}'),
    ("stream", '"call/call_1"'),
    ("stream.kind", '{"id":"a"}'),
    ("stream.id", '{"kind":"call"}'),
    ("stream.id", '{"kind":"call","id":7}'),
    ("stream.id", '{"kind":"call","id":""}'),
    ("stream.id", '{"kind":"call","id":"a b"}'),
    ("stream.id", '{"kind":"call","id":"a/b"}'),
    ("stream.id", '{"kind":"call","id":"a\\nb"}'),
    ("stream.id", '{"kind":"call","id":"a\\n"}'),
    ("stream.id", '{"kind":"call","id":"a%2Fb"}'),
    ("stream.id", '{"kind":"call","id":"é"}'),
    ("stream.id", '{"kind":"call","id":"' + "a" * 201 + '"}'),
    ("stream.kind", '{"kind":"Call","id":"a"}'),
    ("stream.kind", '{"kind":"7call","id":"a"}'),
    ("stream.kind", '{"kind":"call\\r\\n","id":"a"}'),
    ("stream.kind", '{"kind":["call"],"id":"a"}'),
    ("stream.kind", '{"kind":"' + "a" * 65 + '","id":"a"}'),
    ("stream.workspace", '{"kind":"call","id":"a","workspace":"b"}'),
    ("type", ""),
    ("type", "null"),
    ("type", "7"),
    ("type", '""'),
    ("type", '"a b"'),
    ("type", '"a\\nid: 7"'),
    ("type", '"a\\r"'),
    ("type", '"a\\n"'),
    ("type", '".a"'),
    ("type", '"a/b"'),
    ("type", '"a*"'),
    ("type", '"é"'),
    ("type", '"\\ud800"'),
    ("type", '"' + "a" * 129 + '"'),
    ("type", '"error"'),
    ("type", '"open"'),
    ("type", '"message"'),
    ("data", ""),
    ("data", "null"),
    ("data", "[]"),
    ("data", '"{}"'),
    ("data", "1e400"),
    ("occurred_at", "1763632800"),
    ("occurred_at", '""'),
    ("occurred_at", '"yesterday"'),
    ("occurred_at", '"2026-11-20"'),
    ("occurred_at", '"2026-11-20T10:00:00"'),
    ("occurred_at", '"2026-13-20T10:00:00Z"'),
    ("occurred_at", '"2026-02-29T10:00:00Z"'),
    ("occurred_at", '"2026-11-20T25:00:00Z"'),
    ("occurred_at", '"0001-01-01T00:00:00+01:00"'),
    ("occurred_at", '"9999-12-31T23:59:59-01:00"'),
    ("occurred_at", '"20261120T100000Z"'),  # ISO 8601, not RFC 3339
    ("occurred_at", '"2026-W47-5T10:00:00Z"'),
    ("occurred_at", '"2026-11-20X10:00:00Z"'),
    ("occurred_at", '"2026-11-20T10Z"'),
    ("occurred_at", '"2026-11-20T10:00:00+00:00:30"'),
    ("occurred_at", '"2026-11-20T10:00:00,5Z"'),
    ("occurred_at", '"２０２６-11-20T10:00:00Z"'),
    ("idempotency_key", "7"),
    ("idempotency_key", '""'),
    ("idempotency_key", '"a b"'),
    ("idempotency_key", '"é"'),
    ("idempotency_key", '"a\\n"'),
    ("idempotency_key", '"' + "k" * 256 + '"'),
    ("metadata", "[]"),
    ("metadata", '"a"'),
    ("metadata", json.dumps({str(number): 1 for number in range(51)})),
    ("metadata.a b", '{"a b":1}'),
    ("metadata.", '{"":1}'),
    ("metadata." + "a" * 65, json.dumps({"a" * 65: 1})),
    ("metadata.a", '{"a":{}}'),
    ("metadata.a", '{"a":[]}'),
    ("metadata.a", json.dumps({"a": "b" * 501})),
    ("metadata.a", '{"a":' + "9" * 501 + "}"),
    ("channels", '"a"'),
    ("channels", "{}"),
    ("channels", json.dumps([str(number) for number in range(11)])),
    ("channels[0]", "[7]"),
    ("channels[0]", '[""]'),
    ("channels[1]", '["a","b c"]'),
    ("channels[1]", '["a","b,c"]'),
    ("channels[0]", '["\\""]'),
    ("channels[0]", '["{a}"]'),
    ("channels[0]", '["a\\n"]'),
    ("channels[0]", json.dumps(["a" * 65])),
    ("ocurred_at", "1"),
    ("\\ud800", "1"),
]


@pytest.mark.parametrize(("field", "raw"), WRONG_FIELDS)
def test_a_wrong_field_is_named(field: str, raw: str) -> None:
    name = field.partition(".")[0].partition("[")[0]
    problem = refusal(event(**{name: raw}))
    assert problem.code == "invalid"
    assert [error["field"] for error in problem.errors] == [field.replace("\\ud800", "\ud800")]
    assert problem.errors[0]["detail"] in problem.detail


def test_every_wrong_field_is_named_at_once() -> None:
    problem = refusal('{"typ":1,"stream":{"kind":1},"data":2,"occurred_at":3,"idempotency_key":4}')
    assert [error["field"] for error in problem.errors] == [
        "typ", "stream.kind", "stream.id", "type", "data", "idempotency_key", "occurred_at",
    ]  # fmt: skip


@pytest.mark.parametrize("type", ["errors", "message.sent", "open.", "a", "0", "_x", "A:b-c.d", "a" * 128])
def test_names_next_to_the_refused_ones_are_taken(type: str) -> None:
    assert read(event(type=f'"{type}"')).type == type


@pytest.mark.parametrize("stream_id", ["a", "a~b:c@d+e=f-g.h_i", "0" * 200, "...", ".a", "a..", "~"])
def test_ids_of_streams_that_are_taken(stream_id: str) -> None:
    assert read(event(stream=f'{{"kind":"a.b-c_0","id":"{stream_id}"}}')).stream_id == stream_id


@pytest.mark.parametrize("stream_id", [".", ".."])
def test_an_id_that_clients_collapse_in_a_url_is_refused(stream_id: str) -> None:
    with pytest.raises(Problem, match="other than"):
        read(event(stream=f'{{"kind":"call","id":"{stream_id}"}}'))


def test_an_element_that_is_too_deep_or_holds_a_nul_leaves_its_neighbours_alone() -> None:
    deep, nul = event(data='{"a":' + "[" * 70 + "]" * 70 + "}"), event(data='{"a":"\\u0000"}')
    parts = split_array(f"[{GOOD},{deep},{nul},{GOOD}]".encode(), 4)
    assert [part.decode() for part in parts] == [GOOD, deep, nul, GOOD]
    assert refusal(parts[1]).code == "invalid_json"
    assert refusal(parts[2]).code == "invalid"


def calls_to_read(text: bytes) -> int:
    """Of Python's functions and of those that they call."""
    calls = 0

    def count(frame: FrameType, what: str, argument: object) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")

    sys.setprofile(count)
    try:
        with suppress(Problem):
            read(text)
    finally:
        sys.setprofile(None)
    return calls


def test_an_ordinary_event_is_read_in_few_calls() -> None:
    """A batch has a thousand such events."""
    text = event().encode()
    read(text)
    assert calls_to_read(text) < 120


@pytest.mark.parametrize("name", ["k%d", "", "data"])
def test_an_event_of_very_many_members_is_refused_at_the_price_of_parsing_it(name: str) -> None:
    members = ",".join(f'"{name % number if "%" in name else name}":{{}}' for number in range(5000))
    text = f'{{{STREAM},"type":"call.note",{members}}}'.encode()
    with pytest.raises(Problem):
        read(text)
    assert calls_to_read(text) < 2000
