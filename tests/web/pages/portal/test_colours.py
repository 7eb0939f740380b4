"""The operator's colour can be read, whatever it is, in light and in dark."""

from __future__ import annotations

import re

import pytest

from app.web.pages.portal.colours import BLACK, DARK, ENOUGH, LIGHT, WHITE, contrast, legible, read, theme

ACCENTS = ("#1a6755", "#ffcc00", "#ffffff", "#000000", "#808080", "#ff0000", "#0000ff", "#00ff00", "#7f7fff")


@pytest.mark.parametrize("accent", ACCENTS)
def test_an_accent_is_legible_on_every_ground_and_what_stands_on_it_too(accent: str) -> None:
    for grounds, towards in ((LIGHT, BLACK), (DARK, WHITE)):
        moved, tint = legible(read(accent), grounds, towards)
        assert min(contrast(moved, ground) for ground in (*grounds, tint)) >= ENOUGH
        assert max(contrast(moved, BLACK), contrast(moved, WHITE)) >= ENOUGH


def test_a_colour_that_is_legible_stays_as_it_is() -> None:
    assert "--accent: #1a6755;" in theme("#1a6755")


def test_the_sheet_holds_nothing_but_colours() -> None:
    assert re.sub(r"#[0-9a-f]{6}", "#", theme("#ffcc00")) == re.sub(r"#[0-9a-f]{6}", "#", theme("#000000"))


@pytest.mark.parametrize("text", ["red", "#fff", "#12345g", "#1234567", "", "#12345;", "# 1234"])
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a colour"):
        read(text)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)
