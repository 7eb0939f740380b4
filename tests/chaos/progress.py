"""How far a run has come, in a file, so that one that was interrupted goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.verdict import Verdict


@dataclass
class Progress:
    """What a run has done. run: what makes it the same run (form, revision, release); done: verdicts by scenario."""

    file: Path
    run: dict[str, str]
    seconds: float = 0.0
    done: dict[str, Verdict] = field(default_factory=dict)

    def save(self) -> None:
        """Write it down; a kill leaves the old or the new text."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {"run": self.run, "seconds": self.seconds, "done": {name: asdict(one) for name, one in self.done.items()}},
            indent=1,
        )
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)


def resume(file: Path, run: dict[str, str]) -> Progress:
    """What the same run has done so far; an empty one when the file is of another run, or there is none."""
    try:
        found = json.loads(file.read_text())
        if found["run"] == run:
            done = {name: Verdict(**figures) for name, figures in found["done"].items()}
            return Progress(file, run, found["seconds"], done)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Progress(file, run)
