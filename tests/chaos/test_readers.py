"""What is wrong with what a reader was shown is found, and nothing else; so is a webhook that comes out of order."""

from __future__ import annotations

import pytest

from tests.chaos.readers import broken, is_complete
from tests.chaos.receivers import Order

FINAL = {"a1": ("a", 1), "a2": ("a", 2), "b1": ("b", 1)}


@pytest.mark.parametrize(
    ("shown", "is_kept", "expected"),
    [
        (["a1", "b1", "a2"], False, ""),
        (["a1", "lost", None, "b1", "a2"], False, ""),
        ([None, "a1", "b1", "a2"], False, ""),
        (["a1", "lost", "a1", "b1", "a2"], True, ""),
        (["a1", "lost", "b1", "a2"], False, "1 events that are lost were shown, and nobody said so: lost"),
        (["a1", "b1", None, "a2", "lost"], False, "1 events that are lost were shown, and nobody said so: lost"),
        (["a1", "a2"], False, "1 events were not shown: b1 (('b', 1))"),
        (["a1", "b1", None, "b1", "a2"], False, "1 events were shown twice: b1"),
        (["a2", "b1", "a1"], True, "seq 1 of a was shown after 2"),
    ],
)
def test_a_reader_goes_on_without_a_gap_or_is_told(shown: list[str | None], is_kept: bool, expected: str) -> None:
    assert broken(shown, FINAL, is_kept=is_kept) == ([expected] if expected else [])
    assert is_complete(shown, FINAL) is ("not shown" not in expected)


def body(stream: str, seq: int) -> bytes:
    return b'{"stream":{"kind":"chaos","id":"%b"},"seq":%d}' % (stream.encode(), seq)


def test_what_comes_before_an_earlier_one_is_taken_is_out_of_order() -> None:
    order = Order()
    for stream, seq in (("a", 1), ("b", 1), ("a", 1), ("a", 2)):
        order.came(body(stream, seq))
        order.took(body(stream, seq))
    order.came(body("a", 1))  # once more
    assert order.broken == []
    order.came(body("a", 3))  # refused
    order.came(body("a", 4))
    assert order.broken == ["seq 4 of a came when 2 was the last one taken"]
