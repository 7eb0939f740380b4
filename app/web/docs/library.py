"""The documentation's pages: guides, which are Markdown files here, and the reference, made from the API's description.

Each page is Markdown. /docs shows it as HTML, `.md` as it is, /llms-full.txt all of them in one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from app.web.docs import reference

INDEX = "index"  # the page at /docs itself
# In the order in which readers need them.
GUIDES = (
    INDEX,
    "first-webhook",
    "laptop",
    "verify",
    "retries",
    "order",
    "batches",
    "streams",
    "feed",
    "pulling",
    "polling",
    "errors",
)
GUIDE, REFERENCE = "Guides", "Reference"
_FOLDER = Path(__file__).resolve().parent / "guides"
_BASE_URL = "{{base_url}}"  # in a guide: where this API is
_TITLE = re.compile(r"# (.+)\n")
_FIRST_SENTENCE = re.compile(r"^(?![#`|<\-*]).+?\.(?=\s|$)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """One page. name: in its address. text: Markdown; its first line is the title."""

    name: str
    group: str
    text: str

    @property
    def title(self) -> str:
        """What the page is called."""
        found = _TITLE.match(self.text)
        return found[1] if found else self.name

    @property
    def path(self) -> str:
        """Its address."""
        return "/docs" if self.name == INDEX else f"/docs/{self.name}"

    @property
    def about(self) -> str:
        """Its first sentence."""
        found = _FIRST_SENTENCE.search(self.text)
        return " ".join(found[0].split()) if found else self.title


def pages(document: Mapping[str, Any], base_url: str) -> dict[str, Page]:
    """All pages by name, in order. document: the OpenAPI document. base_url: where clients reach this API."""
    found = [Page(name, GUIDE, guide(name).replace(_BASE_URL, base_url)) for name in GUIDES]
    found += [Page(name, REFERENCE, text) for name, text in reference.pages(document)]
    return {page.name: page for page in found}


@cache
def guide(name: str) -> str:
    """A guide as it is written. name: one of GUIDES."""
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def listed(pages: Mapping[str, Page], base_url: str) -> str:
    """All pages with a sentence each, for programs that read (llmstxt.org)."""
    lines = ["# Twofold", "", "> " + pages[INDEX].about, ""]
    for group in (GUIDE, REFERENCE):
        of_group = [page for page in pages.values() if page.group == group]
        lines += [f"## {group}", ""]
        lines += [f"- [{page.title}]({base_url}{page.path}.md): {page.about}" for page in of_group]
        lines.append("")
    lines += ["## For programs", "", f"- [OpenAPI 3.1]({base_url}/openapi.json): every route, and the webhooks"]
    lines += [f"- [AsyncAPI 3]({base_url}/asyncapi.json): the live streams", f"- [All pages]({base_url}/llms-full.txt)"]
    return "\n".join(lines) + "\n"


def together(pages: Mapping[str, Page]) -> str:
    """All pages in one text."""
    return "\n".join(page.text for page in pages.values())
