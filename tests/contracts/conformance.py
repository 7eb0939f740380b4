"""The pytest plugin behind docs/conformance.md: which test shows which clause, and whether it passed.

The page has a part for each suite. A part is written when the whole suite has run, and left alone otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.contracts.clauses import CLAUSES, Clause

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"
# Folder of a suite -> how its part of the page begins.
SUITES = {"tests/contracts": "## Shown by `make test`", "tests/browser": "## Shown by `make test-browser`, in Chromium"}
INTRODUCTION = """\
# Conformance

One row for each clause of each of the four documents, in our own words, and the test that shows it on a real server.
Where a document leaves something open, the design has settled it; those rows say so. Written by the tests themselves,
whenever a suite has run as a whole; `.ci/run` fails when this page is not what the tests have just shown.
"""
EVERYDAY = "not load and not long"  # what pyproject.toml chooses; no clause is shown by one of the others alone
_PROPERTY = "clauses"
T = TypeVar("T", bound=Callable[..., Any])


def clause(*ids: str) -> Callable[[T], T]:
    """Marks a test with the clauses that it shows."""
    unknown = [id for id in ids if id not in CLAUSES]
    assert not unknown, f"no such clause: {unknown}"

    def mark(test: T) -> T:
        return pytest.mark.clause(*ids)(test)

    return mark


class Conformance:
    """Collects on every runner, writes where the session is steered."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._collected: dict[str, list[str]] = {}  # test -> its clauses
        self._complete: set[str] = set()  # suites that were collected as a whole
        self._outcomes: dict[str, str] = {}  # test -> worst outcome

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            ids = [id for mark in item.iter_markers("clause") for id in mark.args]
            if ids:
                self._collected[item.nodeid] = ids
        option = self._config.option
        chosen = option.keyword or option.deselect or option.markexpr not in ("", EVERYDAY)
        if chosen or any("::" in argument for argument in self._config.args):
            return
        files = {Path(str(item.fspath)) for item in items}
        self._complete = {
            suite for suite in SUITES if (found := set((ROOT / suite).glob("test_*.py"))) and found <= files
        }

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:  # a runner of pytest-xdist: the controller writes
            output[_PROPERTY] = {"collected": self._collected, "complete": sorted(self._complete)}
            return
        for suite in sorted(self._complete):
            self._write(suite)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get(_PROPERTY, {"collected": {}, "complete": []})
        self._collected.update(told["collected"])
        self._complete.update(told["complete"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._outcomes[report.nodeid] = "FAIL"
        elif report.when == "call" and report.passed:
            self._outcomes.setdefault(report.nodeid, "pass")

    def _write(self, suite: str) -> None:
        tests = {test: ids for test, ids in self._collected.items() if test.startswith(f"{suite}/")}
        if not all(test in self._outcomes for test in tests):
            return  # interrupted
        parts = read_parts(PAGE)
        parts[suite] = table(tests, self._outcomes)
        text = INTRODUCTION + "".join(
            f"\n{title}\n\n{parts[folder]}" for folder, title in SUITES.items() if folder in parts
        )
        if not PAGE.exists() or PAGE.read_text() != text:
            PAGE.write_text(text)


def read_parts(page: Path) -> dict[str, str]:
    """The tables of a page, by suite."""
    text = page.read_text() if page.exists() else ""
    parts = {}
    for folder, title in SUITES.items():
        _, found, rest = text.partition(f"\n{title}\n\n")
        if found:
            parts[folder] = rest.partition("\n## ")[0].rstrip("\n") + "\n"
    return parts


def table(tests: dict[str, list[str]], outcomes: dict[str, str]) -> str:
    """The rows, in the order of the documents."""
    shown: dict[str, dict[str, str]] = defaultdict(dict)
    for test, ids in tests.items():
        name = test.partition("[")[0]
        for id in ids:
            worst = "FAIL" in (shown[id].get(name), outcomes[test])
            shown[id][name] = "FAIL" if worst else outcomes[test]
    return "".join(_rows(shown))


def _rows(shown: dict[str, dict[str, str]]) -> Iterator[str]:
    yield "| contract | about | clause | shown by | result |\n|---|---|---|---|---|\n"
    for one in CLAUSES.values():
        if one.id in shown:
            yield _row(one, shown[one.id])


def _row(one: Clause, tests: dict[str, str]) -> str:
    names = "<br>".join(f"`{name.rpartition('/')[2]}`" for name in sorted(tests))
    result = "FAIL" if "FAIL" in tests.values() else "pass"
    return f"| {one.contract} | {one.kind} | {one.text.replace('|', '&#124;')} | {names} | {result} |\n"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clause(id, …): the clauses of the documents that a test shows")
    config.pluginmanager.register(Conformance(config), "conformance")
