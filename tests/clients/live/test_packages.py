"""The packages' own tests, and what is in them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.clients.live.programs import HERE, Programs, run, tool
from tests.processes import ROOT


def test_the_javascript_package_s_own_tests_pass() -> None:
    told = run([tool("node"), "--test"], ROOT / "clients/javascript")
    assert "# fail 0" in told
    assert "# tests 0" not in told


def test_the_go_package_s_own_tests_pass() -> None:
    assert run([tool("gofmt"), "-l", "."], ROOT / "clients/go") == ""
    run([tool("go"), "vet", "./..."], ROOT / "clients/go")
    assert run([tool("go"), "test", "-count=1", "./..."], ROOT / "clients/go").startswith("ok")


def test_what_is_installed_is_the_package_and_nothing_beside_it(programs: Programs) -> None:
    (installed,) = programs.folder.glob("venv/lib/*/site-packages/twofold")
    sources = {path.name for path in (ROOT / "clients/python/twofold").iterdir()} - {"__pycache__"}
    assert {path.name for path in installed.iterdir()} - {"__pycache__"} == sources
    assert "py.typed" in sources
    module = programs.folder / "node_modules/twofold"
    files = {str(path.relative_to(module)) for path in module.rglob("*") if path.is_file()}
    own = {f"src/{path.name}" for path in (ROOT / "clients/javascript/src").iterdir()}
    assert files == own | {"package.json", "README.md"}


def test_typescript_takes_the_types(programs: Programs) -> None:
    shutil.copy(HERE / "types/uses.ts", programs.folder)
    compiler = str(programs.folder / "node_modules/typescript/bin/tsc")
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2023", "--lib", "es2023,dom,dom.iterable"]
    assert run([tool("node"), compiler, *options, "uses.ts"], programs.folder) == ""


def test_a_verified_webhook_needs_no_cryptography_package(programs: Programs, tmp_path: Path) -> None:
    """v1 signatures: the extra is for v1a alone."""
    text = (
        "import json, sys; from twofold import verify_webhook\n"
        "one = next(one for one in json.load(open(sys.argv[1]))['envelopes'])\n"
        "print(verify_webhook(one['secret'], one['headers'], one['body'].encode(), now=one['now'])['seq'])\n"
        "import importlib.util; print(importlib.util.find_spec('cryptography'))\n"
    )
    vectors = shutil.copy(ROOT / "clients/vectors.json", tmp_path)
    python = programs.commands["python", "follow"][0]
    assert run([python, "-c", text, str(vectors)], programs.folder).split() == ["1", "None"]
