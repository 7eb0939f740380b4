"""docs/contracts.md in parts: its code blocks, its file, its mistakes."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.processes import ROOT

PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")


class Block(NamedTuple):
    """A code block of the page. note: what stands behind its language."""

    language: str
    note: str
    text: str


def blocks(section: str) -> list[Block]:
    """The code blocks of a section, in order."""
    part = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [Block(*found) for found in re.findall(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", part, re.MULTILINE)]


TUTORIAL = blocks("Ten minutes: a contract of your own")
FILE = TUTORIAL[0].text


def changed(diff: str) -> str:
    """The page's file after the changes of a diff of its lines."""
    text = FILE
    for old, new in re.findall(r"^-(.*)\n\+(.*)$", diff, re.MULTILINE):
        assert f"{old}\n" in text
        text = text.replace(f"{old}\n", f"{new}\n", 1)
    return text


def same(said: str, seen: str) -> bool:
    """Whether this is what the page says, where `…` stands for something on one line."""
    return re.fullmatch(".+?".join(map(re.escape, said.split("…"))), seen) is not None
