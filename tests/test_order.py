"""Which tests begin first on each runner."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.order import LONGEST, dealt
from tests.processes import ROOT


@pytest.mark.parametrize(
    ("first", "rest", "runners", "ordered"),
    [
        ("ABC", "defghij", 2, "ACdef" + "Bghij"),
        ("ABCD", "efghijk", 3, "ADe" + "Bfgh" + "Cijk"),
        ("ABCDE", "f", 2, "ACE" + "BDf"),
        ("", "abcde", 2, "abcde"),
    ],
)
def test_each_block_begins_with_its_share_of_the_longest(first: str, rest: str, runners: int, ordered: str) -> None:
    assert "".join(dealt(first, rest, runners)) == ordered


def test_each_of_the_longest_is_there_and_once() -> None:
    assert [name for name, count in Counter(LONGEST).items() if count > 1] == []
    for name in LONGEST:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), name
