"""How far a run has come, in a file, so that one that was interrupted goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.verdict import Verdict


@dataclass
class Progress:
    """What a run has done.

    run: what makes it the same run (form, revision, release). done: verdicts by scenario. again: scenarios that went
    wrong before the run was interrupted, and are tried once more.
    """

    file: Path
    run: dict[str, str]
    seconds: float = 0.0
    done: dict[str, Verdict] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def save(self) -> None:
        """Write it down; a kill leaves the old or the new text."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        done = {name: asdict(one) for name, one in self.done.items()}
        text = json.dumps({"run": self.run, "seconds": self.seconds, "done": done, "again": self.again}, indent=1)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)


def resume(file: Path, run: dict[str, str]) -> Progress:
    """What the same run has done so far; an empty one when the file is of another run, or there is none.

    What went wrong is tried once more, and the table says so: the machine may have been too busy.
    """
    try:
        found = json.loads(file.read_text())
        if found["run"] == run:
            done = {name: Verdict(**figures) for name, figures in found["done"].items()}
            wrong = [name for name, verdict in done.items() if not verdict.is_good]
            good = {name: verdict for name, verdict in done.items() if verdict.is_good}
            return Progress(file, run, found["seconds"], good, [*found.get("again", ()), *wrong])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Progress(file, run)
