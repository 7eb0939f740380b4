"""What a run has found so far, in a file: one that was interrupted goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Rounds
from bench.stage import Result


@dataclass
class Results:
    """found: by load/contender/round, a Result as a dict, or what went wrong. run: what makes it the same run."""

    file: Path
    run: dict[str, str]
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def has(self, load: str, contender: str, round_: int) -> bool:
        """Whether this was done, and well."""
        return "figures" in self.found.get(f"{load}/{contender}/{round_}", {})

    def enter(self, load: str, contender: str, round_: int, result: Result | str) -> None:
        """Remember a result, or an error's text; written at once."""
        entry = {"error": result} if isinstance(result, str) else asdict(result)
        self.found[f"{load}/{contender}/{round_}"] = entry
        self.save()

    def save(self) -> None:
        """A kill leaves the old or the new text."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"run": self.run, "found": self.found}))
        fresh.replace(self.file)

    @property
    def rounds(self) -> Rounds:
        """The figures of each round."""
        rounds: dict[int, dict[str, float]] = {}
        for name, entry in self.found.items():
            load, contender, number = name.split("/")
            for figure, value in entry.get("figures", {}).items():
                rounds.setdefault(int(number), {})[f"{load}/{contender}/{figure}"] = value
        return rounds

    @property
    def errors(self) -> dict[str, str]:
        """What could not be measured, and why."""
        return {name: entry["error"] for name, entry in self.found.items() if "error" in entry}


def read(file: Path) -> Results | None:
    """What a run has found; None when there is no such file, or it cannot be read."""
    try:
        found = json.loads(file.read_text())
        return Results(file, dict(found["run"]), dict(found["found"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def resume(file: Path, run: dict[str, str]) -> Results:
    """What the same run has found so far; an empty one when the file is of another run, or there is none."""
    found = read(file)
    return found if found is not None and found.run == run else Results(file, run)
