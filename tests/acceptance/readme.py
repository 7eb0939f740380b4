"""What README tells a newcomer to type."""

from __future__ import annotations

import re

from tests.processes import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """The code blocks of "Five minutes with curl", in order."""
    section = README.split("## Five minutes with curl\n")[1].split("\n## ")[0]
    return re.findall(r"```\n(.*?)```", section, re.DOTALL)
