"""The tables of docs/zoo.md. `python -m tests.zoo.page` writes them anew."""

from __future__ import annotations

from app.zoo.guide import outcomes
from app.zoo.receivers import RECEIVERS
from tests.processes import ROOT

PAGE = ROOT / "docs" / "zoo.md"
BEGIN = "<!-- From here on written by `python -m tests.zoo.page`. -->\n"


def tables() -> str:
    """All receivers, a table for each group."""
    parts: list[str] = []
    for group in dict.fromkeys(receiver.group for receiver in RECEIVERS):
        parts += [f"\n### {group[0].upper()}{group[1:]}\n", "| receiver | it … | outcome |", "|---|---|---|"]
        for receiver in RECEIVERS:
            if receiver.group is group:
                parts.append(f"| `{receiver.name}` | {receiver.summary} | {outcomes(receiver)} |")
    return "\n".join(parts) + "\n"


def written() -> tuple[str, str]:
    """The page by hand, and the tables on it."""
    by_hand, begin, found = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return by_hand + begin, found


if __name__ == "__main__":
    PAGE.write_text(written()[0] + tables(), encoding="utf-8")
