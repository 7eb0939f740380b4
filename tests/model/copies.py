"""Copies of modules with some of their text changed: how a safeguard is taken out of real code, or its numbers made
small enough to be searched."""

from __future__ import annotations

import inspect
import sys
from itertools import count
from types import ModuleType
from typing import Any

_numbers = count(1)


def changed(module: ModuleType, *changes: tuple[str, str]) -> Any:
    """A copy of a module that nobody else sees. changes: (what its source says exactly once, what it says instead)."""
    source = inspect.getsource(module)
    for old, new in changes:
        if source.count(old) != 1:
            raise ValueError(f"{module.__name__} says {source.count(old)} times and not once: {old!r}")
        source = source.replace(old, new)
    copy = ModuleType(f"{module.__name__.replace('.', '_')}_changed_{next(_numbers)}")
    sys.modules[copy.__name__] = copy  # where dataclasses and pickle look for it
    exec(compile(source, copy.__name__, "exec"), copy.__dict__)
    return copy
