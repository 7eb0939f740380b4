"""Where the bench keeps its files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var" / "bench"
PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "img"
