"""The documents name every setting with the default that the code has, and every package with its reason."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields

import pytest

from app.settings import Settings
from app.web.docs import library
from tests.guides import fenced
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# A link to a file of tests, perhaps to one test in it.
PROOF = re.compile(r"\[([^\]]+)\]\(((?:\.\./)?tests/[\w/]+\.py)(?:#(\w+))?\)")
# Pages with code blocks: how many, and the tests that run them. A block more, or fewer, needs a look at these.
COMMANDS = "tests/deploy/test_documented_commands.py"
GUIDES = "tests/acceptance/test_guides.py"
RUN_BY = {
    "README.md": (
        13,  # one is a drawing
        ["tests/acceptance/test_readme.py", "tests/acceptance/newcomer.py", "tests/local/test_run.py", COMMANDS],
    ),
    "examples/README.md": (9, ["tests/acceptance/test_viewers.py", "tests/acceptance/test_demo.py", COMMANDS]),
    "clients/python/README.md": (9, ["tests/clients/test_python_readme.py"]),
    "clients/javascript/README.md": (6, ["tests/clients/live/test_readmes.py"]),
    "clients/go/README.md": (6, ["tests/clients/live/test_readmes.py", "tests/clients/live/programs.py"]),
    "docs/architecture.md": (4, ["tests/local/test_procfile.py"]),  # drawings, and the Procfile
    "docs/cli.md": (5, [COMMANDS]),
    "docs/contracts.md": (25, ["tests/acceptance/test_contracts_page.py"]),
    "docs/deployment.md": (2, ["tests/deploy/test_backup.py"]),
    "docs/endpoints.md": (1, [COMMANDS]),
    "docs/operations.md": (5, [COMMANDS, "tests/test_tracing.py"]),
    "docs/reliability.md": (1, [COMMANDS]),
    "docs/zoo.md": (2, [COMMANDS]),
    "guides/batches.md": (2, [GUIDES]),
    "guides/errors.md": (1, [GUIDES]),  # an answer
    "guides/feed.md": (8, [GUIDES, COMMANDS, "tests/clients/live/test_following.py"]),
    "guides/first-webhook.md": (6, [GUIDES]),
    "guides/laptop.md": (2, [COMMANDS]),
    "guides/order.md": (3, [GUIDES]),
    "guides/polling.md": (3, [GUIDES]),
    "guides/pulling.md": (6, [GUIDES]),
    "guides/retries.md": (2, [GUIDES]),
    "guides/streams.md": (6, [GUIDES, "tests/clients/live/test_following.py"]),
    "guides/verify.md": (5, [GUIDES, "tests/deploy/test_verify_languages.py"]),
}
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_the_table_is_the_code() -> None:
    documented = {name: default for name, default, _ in ROW.findall(PAGE)}
    code = {}
    for field in fields(Settings):
        default = field.metadata["default"]
        code[field.name.upper()] = "required" if default is None else f"`{default}`" if default else "empty"
    assert documented == code


def test_every_variable_of_gunicorn_s_file_and_hooks_is_documented() -> None:
    files = ("gunicorn.conf.py", "app/web/serving.py", "app/web/access_log.py")
    read = [name for file in files for name in re.findall(r'environ\.get\("([A-Z_]+)"\)', (ROOT / file).read_text())]
    assert read
    assert [name for name in read if f"| `{name}` |" not in PAGE] == []


def test_every_test_that_a_page_names_as_proof_exists() -> None:
    """Links such as (../tests/web/test_matrix.py#test_each_visitor), and scenarios of tests/chaos/table.py by name."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    linked = 0
    for page in pages:
        for text, path, name in PROOF.findall(page.read_text(encoding="utf-8")):
            linked += 1
            file = (page.parent / path).resolve()
            assert file.is_relative_to(ROOT / "tests"), f"{page.name}: {path}"
            source = file.read_text(encoding="utf-8")
            assert not name or f"def {name}(" in source, f"{page.name}: {path} has no {name}"
            assert file.name != "table.py" or f'"{text}"' in source, f"{page.name}: no scenario is called {text}"
    assert linked > 40


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_every_promise_points_to_its_proof(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!promise|---)(.+) \| (.*) \|$", text[text.index("| promise |") :], re.MULTILINE)
    promises = [row for row in rows if "](" in row[1] or row[0].endswith(".")]
    assert len(promises) >= 8
    assert [promise for promise, proof in promises if "](" not in proof] == []


def test_every_code_block_is_run_by_a_test_that_is_named_here() -> None:
    pages = {"README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))}
    pages |= {
        str(path.relative_to(ROOT)) for path in ROOT.glob("[ce]*/**/README.md") if "node_modules" not in path.parts
    }
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in pages}
    texts |= {f"guides/{name}.md": library.guide(name) for name in library.GUIDES}
    counted = {name: len(found) for name, text in texts.items() if (found := fenced(text))}
    assert counted == {name: count for name, (count, _) in RUN_BY.items()}
    assert [test for _, tests in RUN_BY.values() for test in tests if not (ROOT / test).exists()] == []


def test_every_package_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    rows = re.findall(r"^\| ([a-z0-9, -]+) \| [^|]+ \|$", (ROOT / "docs" / "decisions.md").read_text(), re.MULTILINE)
    named = {name.strip() for row in rows for name in row.split(",")} - {"package"}
    assert named == {re.split(r"[\[<>=]", name)[0] for name in wanted}
