"""Markdown as HTML: headings with addresses of their own, tables that scroll by themselves, no HTML of its own."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from markdown_it import MarkdownIt

_reader = MarkdownIt("commonmark", {"html": False}).enable("table")
_TABLE = ("<table>", "</table>")
_SCROLLING = ('<div class="table" tabindex="0" role="region" aria-label="Table"><table>', "</table></div>")


def anchor(heading: str) -> str:
    """A heading's address within its page."""
    return re.sub(r"[^a-z0-9_]+", "-", heading.lower()).strip("-") or "part"


def html(markdown: str) -> str:
    """The text as HTML, in which every heading can be linked to."""
    tokens = _reader.parse(markdown)
    seen: Counter[str] = Counter()
    for opening, inside in pairwise(tokens):
        if opening.type == "heading_open":
            name = anchor(inside.content)
            seen[name] += 1
            opening.attrSet("id", name if seen[name] == 1 else f"{name}-{seen[name]}")
        elif opening.type == "fence":
            opening.attrSet("tabindex", "0")  # so that long lines can be scrolled by keyboard
    made: str = _reader.renderer.render(tokens, _reader.options, {})
    for plain, scrolling in zip(_TABLE, _SCROLLING, strict=True):
        made = made.replace(plain, scrolling)
    return made.replace("<pre>", '<pre tabindex="0">')


def headings(markdown: str) -> list[tuple[str, str]]:
    """The second-level headings of a page, with their addresses."""
    tokens = _reader.parse(markdown)
    found = [
        inside.content for opening, inside in pairwise(tokens) if opening.type == "heading_open" and opening.tag == "h2"
    ]
    return [(re.sub(r"[`*]", "", text), anchor(text)) for text in found]
