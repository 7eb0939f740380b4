"""Markdown as HTML: headings with addresses of their own, tables that scroll by themselves, no HTML of its own."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from markdown_it import MarkdownIt

_reader = MarkdownIt("commonmark", {"html": False}).enable("table")
# What we write in the place of plain tags: for keyboards, which scroll what is too wide, and for screen readers.
_BETTER = {
    "<table>": '<div class="table" tabindex="0" role="region" aria-label="Table"><table>',
    "</table>": "</table></div>",
    "<th>": '<th scope="col">',
    "<pre>": '<pre tabindex="0">',
}


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
    made: str = _reader.renderer.render(tokens, _reader.options, {})
    for plain, better in _BETTER.items():
        made = made.replace(plain, better)
    return made


def headings(markdown: str) -> list[tuple[str, str]]:
    """The second-level headings of a page, with their addresses."""
    tokens = _reader.parse(markdown)
    found = [
        inside.content for opening, inside in pairwise(tokens) if opening.type == "heading_open" and opening.tag == "h2"
    ]
    return [(re.sub(r"[`*]", "", text), anchor(text)) for text in found]
