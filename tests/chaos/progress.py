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
    wrong before the run was interrupted, and are tried once more. revisions: by scenario, those at which it was done.
    """

    file: Path
    run: dict[str, str]
    seconds: float = 0.0
    done: dict[str, Verdict] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    revisions: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, verdict: Verdict, seconds: float) -> Verdict:
        """Count some more rounds of a scenario, at this run's revision; returns the sum of all its rounds."""
        total = self.done.setdefault(name, Verdict())
        total.add(verdict)
        self.seconds += seconds
        there = self.revisions.setdefault(name, [])
        if (now := self.run.get("revision", "")) not in there:
            there.append(now)
        self.save()
        return total

    def save(self) -> None:
        """Write it down; a kill leaves the old or the new text."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        done = {name: asdict(one) for name, one in self.done.items()}
        rest = {"again": self.again, "revisions": self.revisions}
        text = json.dumps({"run": self.run, "seconds": self.seconds, "done": done, **rest}, indent=1)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)


def resume(file: Path, run: dict[str, str], any_revision: bool = False) -> Progress:
    """What the same run has done so far; an empty one when the file is of another run, or there is none.

    What went wrong is tried once more, and the table says so: the machine may have been too busy.
    any_revision: whether a run of another revision is gone on with, too.
    """
    try:
        found = json.loads(file.read_text())
        if _same(found["run"], run, any_revision):
            done = {name: Verdict(**figures) for name, figures in found["done"].items()}
            wrong = [name for name, verdict in done.items() if not verdict.is_good]
            good = {name: verdict for name, verdict in done.items() if verdict.is_good}
            # A file of before they were kept has those of its run alone.
            revisions = found.get("revisions") or {name: [found["run"]["revision"]] for name in good}
            kept = {name: list(those) for name, those in revisions.items() if name in good}
            return Progress(file, run, found["seconds"], good, [*found.get("again", ()), *wrong], kept)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Progress(file, run)


def _same(one: dict[str, str], other: dict[str, str], any_revision: bool) -> bool:
    """The older release follows from the revision, so it may differ where the revision may."""
    if not any_revision:
        return one == other
    passing = {"revision": "", "release": ""}
    return {**one, **passing} == {**other, **passing}
