"""The documents name every setting with the default that the code has, and every package with its reason."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields

from app.settings import Settings
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_the_table_is_the_code() -> None:
    documented = {name: default for name, default, _ in ROW.findall(PAGE)}
    code = {}
    for field in fields(Settings):
        default = field.metadata["default"]
        code[field.name.upper()] = "required" if default is None else f"`{default}`" if default else "empty"
    assert documented == code


def test_every_variable_of_gunicorn_s_file_and_hooks_is_documented() -> None:
    files = ("gunicorn.conf.py", "app/web/serving.py")
    read = [name for file in files for name in re.findall(r'environ\.get\("([A-Z_]+)"\)', (ROOT / file).read_text())]
    assert read
    assert [name for name in read if f"| `{name}` |" not in PAGE] == []


def test_every_package_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    rows = re.findall(r"^\| ([a-z0-9, -]+) \| [^|]+ \|$", (ROOT / "docs" / "decisions.md").read_text(), re.MULTILINE)
    named = {name.strip() for row in rows for name in row.split(",")} - {"package"}
    assert named == {re.split(r"[\[<>=]", name)[0] for name in wanted}
