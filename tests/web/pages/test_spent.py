"""The bar of an attempt: its parts fill it, and each that took any time can be seen."""

from __future__ import annotations

import itertools

import pytest

from app.web.pages.spent import LEAST_WIDTH, WIDTH, parts_of

NAMES = ("dns", "connect", "tls", "first_byte")


def timing(
    dns: int | None, connect: int | None, tls: int | None, first_byte: int | None, total: int
) -> dict[str, int | None]:
    return dict(zip((*NAMES, "total"), (dns, connect, tls, first_byte, total), strict=True))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (timing(3, 12, 25, 50, 100), {"dns": 3, "connect": 12, "tls": 25, "first_byte": 50, "rest": 10}),
        (timing(0, None, None, 40, 40), {"dns": 0, "first_byte": 40}),
        (timing(None, 5, None, None, 15_000), {"connect": 5, "rest": 14_995}),
        (timing(2, 2, 2, 2, 7), {"dns": 2, "connect": 2, "tls": 2, "first_byte": 2}),  # each rounded for itself
        (timing(None, 0, None, 0, 0), {"connect": 0, "first_byte": 0}),
    ],
)
def test_the_parts_are_told_and_fill_the_bar(given: dict[str, int | None], expected: dict[str, int]) -> None:
    parts = parts_of(given)
    assert {part.name: part.milliseconds for part in parts} == expected
    took = [part for part in parts if part.milliseconds]
    assert sum(part.width for part in parts) == pytest.approx(WIDTH if took else 0, abs=0.1)
    assert all(part.width >= LEAST_WIDTH * 0.95 for part in took)
    assert all(part.width == 0 for part in parts if not part.milliseconds)
    for before, after in itertools.pairwise(parts):
        assert after.x == pytest.approx(before.x + before.width, abs=0.02)


def test_nothing_known_is_no_part() -> None:
    assert parts_of(timing(None, None, None, None, 0)) == []
