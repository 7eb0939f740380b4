"""A parsed TOML table, read key by key and strictly: what is missing, wrong or unknown is noted with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")

_NAMES = {dict: "a table", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


class Table:
    """A TOML table that remembers which keys were read. complaints: (place, what is wrong), appended to."""

    def __init__(self, value: Any, place: str, complaints: list[tuple[str, str]]) -> None:
        self.place = place
        self.complaints = complaints
        self._value: dict[str, Any] = value if isinstance(value, dict) else {}
        self._read: set[str] = set()
        self._asked: set[str] = set()
        if not isinstance(value, dict):
            self.wrong("", f"must be a table, not {value!r}")

    def wrong(self, name: str, text: str) -> None:
        """Note a complaint about one key (or, with '', about the table)."""
        place = f"{self.place}.{name}" if self.place and name else self.place or name
        self.complaints.append((place, text))

    def has(self, name: str) -> bool:
        """Whether the key is given."""
        self._asked.add(name)
        return name in self._value

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        """The value of a key, of this type. Without a default the key must be given."""
        self._read.add(name)
        if name not in self._value:
            if default is None:
                self.wrong(name, "is missing")
                return kind()
            return default
        value = self._value[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.wrong(name, f"must be {_NAMES[kind]}, not {value!r}")
            return default if default is not None else kind()
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within bounds."""
        number = self.get(name, int, default)
        if not low <= number <= high:
            self.wrong(name, f"is {number}; give {low} to {high}")
        return number

    def choice(self, name: str, allowed: Iterable[str], default: str | None = None) -> str:
        """A text that must be one of a few words."""
        value = self.get(name, str, default)
        if value not in (words := tuple(allowed)) and self.has(name):
            self.wrong(name, f"is {value!r}; give one of {', '.join(words)}{nearest(value, words)}")
        return value

    def texts(self, name: str, allowed: Iterable[str] | None = None) -> tuple[str, ...]:
        """A list of texts, each one of `allowed` when that is given."""
        values = self.get(name, list, [])
        words = None if allowed is None else tuple(allowed)
        for value in values:
            if not isinstance(value, str):
                self.wrong(name, f"must hold texts, not {value!r}")
            elif words is not None and value not in words:
                self.wrong(name, f"has {value!r}; give some of {', '.join(words)}{nearest(value, words)}")
        return tuple(value for value in values if isinstance(value, str))

    def table(self, name: str) -> Table:
        """A table below this one; an absent one is empty."""
        return Table(self.get(name, dict, {}), f"{self.place}.{name}" if self.place else name, self.complaints)

    def tables(self, name: str) -> list[Table]:
        """A list of tables below this one."""
        here = f"{self.place}.{name}" if self.place else name
        return [Table(v, f"{here}[{i}]", self.complaints) for i, v in enumerate(self.get(name, list, []))]

    def raw(self, name: str) -> Any:
        """Any value, or None."""
        self._read.add(name)
        return self._value.get(name)

    def items(self) -> list[tuple[str, Any]]:
        """All keys and values of the table; every key counts as read."""
        self._read.update(self._value)
        return list(self._value.items())

    def done(self) -> None:
        """Complain of every key that was not read: it is unknown."""
        for name in self._value:
            if name not in self._read:
                self.wrong(name, f"is not known here{nearest(name, self._read | self._asked)}")


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint at the word that was probably meant, or an empty text."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f" (did you mean {near[0]}?)" if near else ""
