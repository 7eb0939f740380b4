"""Runs of the harness: their forms and scenarios, the table that they write, and that they end and go on as told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from app.failpoints import POINTS
from app.local import children
from tests.chaos import engines, page
from tests.chaos.__main__ import FORMS, chosen
from tests.chaos.page import BEGIN, END, Told
from tests.chaos.progress import Progress, resume
from tests.chaos.table import NO_MOUNT, RELAYED, scenarios
from tests.chaos.verdict import Verdict
from tests.chaos.work import Work
from tests.processes import ROOT, environment, eventually

SLOWEST_SECONDS = 120.0  # for engines to start or to end, on a machine that has much else to do
TOLD = Told("normal", "abc", 19.6)


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    file, name = tmp_path / "var" / "progress.json", {"form": "full", "revision": "abc"}
    first = resume(file, name)
    assert first.done == {}
    first.done["killed"] = good = Verdict(times=3, acknowledged=7, worst_seconds=1.5)
    first.done["frozen"] = Verdict(times=3, slow=1, faults=["it took 41 s"])
    first.seconds = 12.0
    first.save()
    kept = {"killed": ["abc"]}
    assert resume(file, name) == Progress(file, name, 12.0, {"killed": good}, ["frozen"], kept)
    other = {**name, "revision": "abd"}
    assert resume(file, other).done == {}
    assert resume(file, {**other, "form": "normal"}, any_revision=True).done == {}
    later = resume(file, other, any_revision=True)
    assert later == Progress(file, other, 12.0, {"killed": good}, ["frozen"], kept)
    later.add("frozen", Verdict(times=50), 3.0)
    later.add("frozen", Verdict(times=50), 3.0)
    assert resume(file, other).revisions == {"killed": ["abc"], "frozen": ["abd"]}
    file.write_text(json.dumps({"run": name}))
    assert resume(file, name).done == {}


def test_only_its_own_part_of_the_page_is_written(tmp_path: Path) -> None:
    file = tmp_path / "reliability.md"
    file.write_text(f"# Before\n\n{BEGIN}\n{END}\n\nAfter\n")
    for text in ("first", r"\1 second"):
        page.write(file, text)
        assert file.read_text() == f"# Before\n\n{BEGIN}\n{text}\n{END}\n\nAfter\n"


@pytest.mark.parametrize(
    ("there", "form", "expected"),
    [
        ("", "short", False),
        ("", "normal", True),
        ("normal", "short", False),
        ("normal", "normal", True),
        ("normal", "full", True),
        ("full", "normal", False),
        ("full", "full", True),
    ],
)
def test_a_table_is_written_over_by_a_run_that_is_no_shorter(
    tmp_path: Path, there: str, form: str, expected: bool
) -> None:
    file = tmp_path / "reliability.md"
    text = page.text_of([], {}, Told(there, "abc", 1)) if there else ""
    file.write_text(f"The full form at which this begins does not count.\n{BEGIN}\n{text}\n{END}\n")
    assert page.writes(file, form) is expected


def test_the_page_of_this_release_has_a_place_for_the_table() -> None:
    assert page.writes(ROOT / "docs" / "reliability.md", "full")


def test_the_table_has_a_line_for_each_scenario_that_was_done() -> None:
    every = scenarios("")
    done = {every[0].name: Verdict(times=5, acknowledged=100), every[1].name: Verdict(times=5, lost=2, faults=["no"])}
    lines = [line for line in page.text_of(every, done, TOLD).splitlines() if line.startswith("| ")]
    assert [line.count("|") for line in lines] == [13, 13, 13]
    assert [line.endswith("| yes | abc |") for line in lines[1:]] == [True, False]


def test_the_table_says_what_was_tried_again() -> None:
    told = Told("full", "abc", 240, ["redis full"])
    assert (
        page.text_of([], {}, told).splitlines()[0].endswith("Tried again after an earlier try went wrong: redis full.")
    )


def test_the_scenarios_are_consistent() -> None:
    every = scenarios("abc")
    assert [name for name, count in Counter(one.name for one in every).items() if count > 1] == []
    assert {one.name for one in every if one.failpoint} >= {f"killed at {point}" for point in POINTS}
    for one in every:
        assert 1 <= FORMS["short"].count(one) <= FORMS["normal"].count(one) <= FORMS["full"].count(one)


def test_scenarios_are_chosen_by_name_or_by_part_of_it() -> None:
    def names(*only: str) -> list[str]:
        return [one.name for one in chosen(scenarios(""), only, FORMS["short"])]

    assert names("killed at ledger.commit") == ["killed at ledger.commit"]
    assert names("ledger.c", "poison row") == ["killed at ledger.commit", "killed at ledger.committed", "poison row"]
    assert names("nothing") == []
    assert set(names()) < {one.name for one in scenarios("")}


def test_each_round_is_handed_out_once_and_first_those_of_the_same_build(tmp_path: Path) -> None:
    every = [one for one in scenarios("") if one.name in {"web killed", "redis cut", "redis black-holed", "poison row"}]
    work = Work(every, lambda one: 7, Progress(tmp_path / "progress.json", {}))
    first, beside = work.take(), work.take(RELAYED)
    assert first is not None
    assert beside is not None
    assert (first[0].name, first[1], beside[0].name, beside[1]) == ("web killed", 5, "redis black-holed", 5)
    work.done(first, Verdict(times=5), 1.0)
    work.done(beside, Verdict(times=1, lost=1), 1.0)  # it is not tried again
    left = [(piece[0].name, piece[1]) for piece in iter(work.take, None)]
    assert left == [("web killed", 2), ("poison row", 5), ("poison row", 2)]


class Careless:
    """Python drops what its finalizer raises, as that of redis-py's connection pools."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_run_ends_although_python_has_dropped_the_exception() -> None:
    """In a process of its own: signals are the process's."""
    told = (
        "import time; from tests.chaos.ending import Ending; from tests.chaos.test_runs import Careless\n"
        "ending = Ending(); ending.listen(); Careless(); print('dropped', flush=True)\n"
        "try: time.sleep(60)\nfinally: ending.ignore()"
    )
    command = [sys.executable, "-c", told]
    done = subprocess.run(command, cwd=ROOT, env=environment({}), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, b"dropped\n")
    assert b"ending what was started" in done.stderr


# One product is tried as each of two is, in a process of its own.
@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.long), 2])
def test_an_interrupted_run_leaves_no_process_no_mount_and_no_files(engine_directory: Path, jobs: int) -> None:
    only, place = ("redis flushed", "engines/redis") if NO_MOUNT else ("disk full", f"{engines.SMALL}/engines/redis")
    command = [sys.executable, "-m", "tests.chaos", "--only", only, "--rounds", "20", "--jobs", str(jobs)]
    env = environment({"TMPDIR": str(engine_directory)})
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        try:
            eventually(lambda: len(list(engine_directory.glob(f"{engines.PREFIX}*/{place}"))) == jobs, SLOWEST_SECONDS)
            directories = list(engine_directory.glob(f"{engines.PREFIX}*"))
            assert all(len(children.marked(directory)) > 1 for directory in directories)
        finally:
            for _ in range(2):  # as impatient people do
                run.send_signal(signal.SIGINT)
        assert run.wait(SLOWEST_SECONDS) == 128 + signal.SIGINT
    for directory in directories:
        assert children.marked(directory) == []
        assert str(directory) not in Path("/proc/mounts").read_text()
        assert not directory.exists()
