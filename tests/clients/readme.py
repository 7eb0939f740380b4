"""The READMEs of the client packages: their code blocks, and the addresses that stand in them."""

from __future__ import annotations

import re

from tests.processes import ROOT

ADDRESS = "https://events.example.com"


def blocks(package: str, language: str) -> list[str]:
    """The blocks of clients/<package>/README.md that are marked with this language, in order."""
    text = (ROOT / "clients" / package / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
