"""JSON as text: bodies are read strictly and split into their elements and lines, each in its own spelling."""

from __future__ import annotations

import pytest

from app.core.problem import Problem
from app.core.wire.json_text import read_json, split_array, split_lines


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
