"""The tests that take longest begin first, some on each runner, so that in the end no runner is waited for.

pytest-xdist cuts the list of tests into one block for each runner (`--dist worksteal`), and whoever has done its block
takes from the end of another's: what begins a block is begun at once, and short tests are left for the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

import pytest

# Five seconds or more on two quiet cores beside three other runners, the longest first. A test's parameters go with it.
LONGEST = ("tests/contracts/test_real_time.py::test_silence_is_kept_alive_at_the_contracts_own_pace",)
T = TypeVar("T")


@pytest.hookimpl(trylast=True)  # after those that are not to run have been taken out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    runners = getattr(config, "workerinput", {}).get("workercount", 1)
    if runners > 1:
        place = {name: number for number, name in enumerate(LONGEST)}
        names = {item: item.nodeid.partition("[")[0] for item in items}
        first = sorted((item for item in items if names[item] in place), key=lambda item: place[names[item]])
        items[:] = dealt(first, [item for item in items if names[item] not in place], runners)


def dealt(first: Sequence[T], rest: Sequence[T], runners: int) -> list[T]:
    """One list, which cut into blocks begins each block with its share of `first`."""
    ordered: list[T] = []
    left = iter(rest)
    for runner in range(runners):
        block = (len(first) + len(rest) - len(ordered)) // (runners - runner)
        own = first[runner::runners]
        ordered += [*own, *islice(left, max(0, block - len(own)))]
    return ordered + list(left)
