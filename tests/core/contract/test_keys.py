"""The list of keys in docs/contracts.md and the code that reads them say the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from app.core.contract import checks, reader, route_reader
from app.core.contract.model import ERROR_STATUS
from app.core.contract.strict_table import Table
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
# A file with every kind of table, so that all of their keys are asked for. That they are empty is wrong, and no matter.
EVERY_TABLE: dict[str, Any] = {
    "streams": [{"ends": [{}]}],
    "routes": [{"kind": "", "types": [], "hide": [{}], "opening": {}, "closing": {}, "reset": {}}],
    "errors": {case: {} for case in ERROR_STATUS},
    "events": [{}],
}
NEEDED = {"routes.credentials", "routes.frame"}  # though they have a default: the code complains in words of its own
NOT_NEEDED = {"routes.kind"}  # though it has none: the code looks first whether it is there


def rows() -> dict[str, tuple[str, str, str]]:
    """Key -> values, default, meaning, as the page tells."""
    part = PAGE.split("\n## Every key\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| (.*?) ?\|$", part, re.MULTILINE)
    assert len(found) == len({key for key, *_ in found}), "a key stands twice"
    return {key: (values, default, meaning) for key, values, default, meaning in found}


class Asked:
    """What the code asks tables for: the default of each key (None: it is needed) and the words that it may hold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.defaults: dict[str, object] = {}
        self.words: dict[str, list[str]] = {}
        get, raw, choice, texts, number = Table.get, Table.raw, Table.choice, Table.texts, Table.number

        def on_get(table: Table, name: str, kind: Any, default: Any = None) -> Any:
            self.defaults.setdefault(place(table, name), default)
            return get(table, name, kind, default)

        def on_raw(table: Table, name: str) -> Any:
            self.defaults.setdefault(place(table, name), "" if name == "template" else None)
            return raw(table, name)

        def on_choice(table: Table, name: str, allowed: Iterable[str], default: str | None = None) -> str:
            self.words[place(table, name)] = [f"`{word}`" for word in allowed]
            return choice(table, name, allowed, default)

        def on_texts(table: Table, name: str, allowed: Iterable[str] | None = None) -> tuple[str, ...]:
            self.words[place(table, name)] = [f"`{word}`" for word in allowed or ()]
            return texts(table, name, allowed)

        def on_number(table: Table, name: str, default: int, low: int, high: int) -> int:
            self.words[place(table, name)] = [f"{low} to {high}"]
            return number(table, name, default, low, high)

        for on in (on_get, on_raw, on_choice, on_texts, on_number):
            monkeypatch.setattr(Table, on.__name__.removeprefix("on_"), on)
        with pytest.raises(reader.ContractError):
            reader.read_contract(EVERY_TABLE)
        # Which cases there are is asked by `has`, not by `get`.
        self.defaults |= {f"errors.{case}": status for case, status in ERROR_STATUS.items()}


def place(table: Table, name: str) -> str:
    """Such as routes.hide.type."""
    found = re.sub(r"\[\d+\]", "", f"{table.place}.{name}".lstrip("."))
    return re.sub(r"^errors\.\w+\.", "errors.CASE.", found)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the code asks for."""
    return Asked(monkeypatch)


def test_every_key_is_in_the_page_and_the_other_way_round(asked: Asked) -> None:
    assert set(asked.defaults) == set(rows())


def test_the_page_names_every_word_that_a_key_may_hold(asked: Asked) -> None:
    page = rows()
    for key, words in asked.words.items():
        missing = [word for word in words if word not in page[key][0]]
        assert not missing, f"{key}: {missing}"
        if any("`" in word for word in words):
            assert re.findall(r"`[^`]+`", page[key][0]) == words, key


def test_the_page_names_every_default(asked: Asked) -> None:
    for key, (_, said, _) in rows().items():
        default = asked.defaults[key]
        if key.startswith("errors.CASE."):
            continue  # they follow the case, whose own row is looked at
        if key in NEEDED or (default is None and key not in NOT_NEEDED):
            assert said == "needed", key
        elif not default and not isinstance(default, int):
            assert said == "none", key
        else:
            assert f"`{default if not isinstance(default, bool) else str(default).lower()}`" in said, key


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("routes.frame.members", route_reader.VALUES),
        ("routes.opening.data", checks.FIXED_VALUES),
        ("routes.reset.data", checks.RESET_VALUES),
        ("errors.template", checks.ERROR_VALUES),
    ],
)
def test_the_page_names_every_value_that_a_template_may_speak_of(key: str, values: tuple[str, ...]) -> None:
    assert tuple(re.findall(r"`(\$\w+)`", rows()[key][2])) == values
