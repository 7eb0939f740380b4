"""What docs/architecture.md says about the code's shape, held. (Import directions between layers: lint-imports.)"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT

PRODUCT = sorted(path for folder in ("app", "workers") for path in (ROOT / folder).rglob("*.py"))
CORE = [path for path in PRODUCT if path.is_relative_to(ROOT / "app" / "core")]
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
VAGUE_NAMES = re.compile(r"(util|helper|service|manager)s?|common|base|misc")
PURE = sys.stdlib_module_names | {"cryptography"}
# The standard library's own ways out of a pure function.
IMPURE = {"asyncio", "http.client", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "shutil"}
IMPURE |= {"socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib.request"}
CLOCKS = re.compile(r"\b(datetime\.now|datetime\.utcnow|date\.today)\(")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", CORE, ids=ids(CORE))
def test_the_core_imports_the_standard_library_and_cryptography_only(path: Path) -> None:
    foreign = [
        name for name in imports(path) if name.split(".")[0] not in PURE and not f"{name}.".startswith("app.core.")
    ]
    assert foreign == []


@pytest.mark.parametrize("path", CORE, ids=ids(CORE))
def test_the_core_has_no_input_output_clock_or_randomness(path: Path) -> None:
    assert [name for name in imports(path) if name in IMPURE] == []
    assert CLOCKS.findall(path.read_text()) == []


@pytest.mark.parametrize("path", PRODUCT, ids=ids(PRODUCT))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def import_rules() -> dict[str, dict[str, Any]]:
    """The contracts that lint-imports holds, by the first words of their names."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {re.split(r"[ :]", rule["name"])[0]: rule for rule in rules}


def layers() -> list[set[str]]:
    return [set(re.split(r" *[|:] *", layer.strip())) for layer in import_rules()["Imports"]["layers"]]


def test_every_module_has_its_layer() -> None:
    """A new one is to be put where it belongs: lint-imports says nothing of a module that it does not know."""
    found = {f"app.{path.stem}" for path in (ROOT / "app").glob("*.py") if path.stem != "__init__"}
    found |= {f"app.{path.parent.name}" for path in (ROOT / "app").glob("*/__init__.py")}
    assert set.union(*layers()) == found | {"workers"}


def test_what_consumers_import_is_kept_from_every_other_package_of_ours() -> None:
    forbidden = set(import_rules()["What"]["forbidden_modules"])
    assert set.union(*layers()) - forbidden == {"app.client"}


def test_each_module_of_the_two_deliveries_is_kept_from_the_database_or_from_the_network() -> None:
    """A new one is either rows or a connection to others: both rules name their modules one by one."""
    rows, connections = (import_rules()[name]["source_modules"] for name in ("Rows", "Connections"))
    folders = ("live", "delivery")
    found = {f"app.{folder}.{path.stem}" for folder in folders for path in (ROOT / "app" / folder).glob("*.py")}
    found |= {f"app.live.feed.{path.stem}" for path in (ROOT / "app/live/feed").glob("*.py")}
    found |= {
        f"app.{path.parent.parent.name}.{path.parent.name}" for path in (ROOT / "app/delivery").glob("*/__init__.py")
    }
    kept = {name for name in (*rows, *connections) if name.startswith(("app.live.", "app.delivery."))}
    # The drain is where rows and connections meet.
    assert kept == {name for name in found if not name.endswith("__init__")} - {"app.delivery.drain"}
    assert set(rows) - kept == {"app.accounts", "app.database", "app.ledger"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in PRODUCT if VAGUE_NAMES.fullmatch(path.stem)] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PRODUCT
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
