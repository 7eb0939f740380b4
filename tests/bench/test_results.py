"""A run remembers what it has found, and goes on from there."""

from __future__ import annotations

from pathlib import Path

from bench.results import Results, resume
from bench.stage import Result

RUN = {"form": "full", "revision": "abc"}


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    results = Results(tmp_path / "deep" / "results.json", RUN)
    results.enter("read", "twofold", 0, Result({"cpu": 1.5}, {"post": [[1, 2]]}))
    results.enter("read", "plain", 0, "it broke")
    again = resume(results.file, RUN)
    assert again.has("read", "twofold", 0)
    assert not again.has("read", "plain", 0)
    assert again.rounds == {0: {"read/twofold/cpu": 1.5}}
    assert again.errors == {"read/plain/0": "it broke"}


def test_another_run_begins_anew(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json", RUN)
    results.enter("read", "twofold", 0, Result({"cpu": 1.5}))
    assert resume(results.file, {**RUN, "revision": "def"}).found == {}
    results.file.write_text("{")
    assert resume(results.file, RUN).found == {}
