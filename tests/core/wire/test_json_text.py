"""JSON as text: bodies are read strictly and split into their elements and lines, each in its own spelling."""

from __future__ import annotations

import json

import pytest

from app.core.problem import Problem
from app.core.wire.json_text import (
    compact,
    members,
    read_json,
    read_members,
    repeats_a_name,
    split_array,
    split_lines,
)


def test_an_array_is_split_into_its_elements_as_spelled() -> None:
    raw = b' [ {"a" : 1.0} ,\n"x,]" , [1,[2]],1e400 ,null ] '
    assert split_array(raw, 5) == [b'{"a" : 1.0}', b'"x,]"', b"[1,[2]]", b"1e400", b"null"]
    assert split_array(b"[]", 5) == []
    assert split_array(b" [ ] ", 5) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"[1,]", "invalid_json"),
        (b"[,1]", "invalid_json"),
        (b"[1}", "invalid_json"),
        (b"[1", "invalid_json"),
        (b"[1,", "invalid_json"),
        (b"[1]]", "invalid_json"),
        (b"[1][2]", "invalid_json"),
        (b"[" + b"1," * 1000 + b"1]", "too_large"),
        (b"[" + b"1," * 2_000_000 + b"x", "too_large"),  # what stands behind the limit is not even looked at
        (b"[1 2]", "invalid_json"),
        (b"[1]x", "invalid_json"),
        (b"[", "invalid_json"),
        (b"[NaN]", "invalid_json"),
        (b"{}", "invalid"),
        (b'"[]"', "invalid"),
        (b"[" * 301 + b"]" * 301, "invalid_json"),
        (b'["\xff"]', "invalid_json"),
    ],
)
def test_what_is_no_array_is_refused_as_a_whole(raw: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        split_array(raw, 1000)
    assert caught.value.code == code


def test_lines_are_separated_by_line_feeds_alone() -> None:
    raw = '{"a":"\u2028\x85"}\r\n\n  \n{"b":1}\t\n{"c":\x0b1}'.encode()
    assert split_lines(raw) == ['{"a":"\u2028\x85"}'.encode(), b'{"b":1}', b'{"c":\x0b1}']
    assert split_lines(b"") == []


def test_read_json_gives_text_and_value() -> None:
    assert read_json(b' {"a":1} ', 1) == (' {"a":1} ', {"a": 1})
    with pytest.raises(Problem, match="deeper than 1"):
        read_json(b'{"a":{}}', 1)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1}',
        ' \r\n{ "a" : 1.50 ,\t"b":[1, {"c": "}"}] , "\\u0063" : "\\"," }\n',
        '{"a":{"a":1,"a":2},"b":null,"a":3}',
        '{"":"","a":123456789012345678901234567890,"b":true}',
    ],
)
def test_members_are_read_along_with_their_object(text: str) -> None:
    value, spelled = read_members(text.encode(), 9)
    assert value == json.loads(text)
    assert spelled == [(name, raw) for name, raw, _ in members(text.strip())]


@pytest.mark.parametrize("text", ["{}", " { } ", "[]", '["a", {"b": 1}]', '"a"', "1", "null"])
def test_what_has_no_members_is_read_as_well(text: str) -> None:
    assert read_members(text.encode(), 9) == (json.loads(text), [])


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b" ", b"}", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{"a":1}}', b'{"a":1}{"b":2}'),
        *(
            b'{"a" 1}',
            b'{"a":1 "b":2}',
            b"{'a':1}",
            b"{a:1}",
            b'{"a":NaN}',
            b'{"a":-Infinity}',
            b'{"a":01}',
            b'{,"a":1}',
        ),
        *(b'{"a":"\n"}', b'{"a\n":1}', b'{"a":"\\u0000"}', b'{"\\u0000":1}', b"\xff", b'\xef\xbb\xbf{"a":1}'),
        *(b'{"a":[[[[1]]]]}', b'{"a":1},', b'{"a":1}\x00', b'{"a":"\\x"}', b'{,"a":1}'),
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(raw: bytes) -> None:
    with pytest.raises(Problem) as expected:
        read_json(raw, 4)
    with pytest.raises(Problem) as refused:
        read_members(raw, 4)
    assert refused.value.body("") == expected.value.body("")


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("{}", False),
        ('{"a":1,"b":2}', False),
        ('{"a":"1:2","b:":2}', False),
        ('{"a":{"b":1,"b":2}}', False),  # not one of its own
        ('{"a":1,"a":2}', True),
        ('{"a":1,"\\u0061":"::"}', True),
    ],
)
def test_an_object_repeats_a_name(text: str, repeats: bool) -> None:
    assert repeats_a_name(text, json.loads(text)) is repeats


@pytest.mark.parametrize(
    ("raw", "compacted"),
    [
        ('{"a b":" c  d\\" ","e":[1,2]}', '{"a b":" c  d\\" ","e":[1,2]}'),
        ('{"a b": " c  d\\" ","e":[1,\n2]}', '{"a b":" c  d\\" ","e":[1,2]}'),
        ("{ }", "{}"),
    ],
)
def test_only_white_space_outside_strings_is_dropped(raw: str, compacted: str) -> None:
    assert compact(raw) == compacted
