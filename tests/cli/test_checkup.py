"""What `twofold doctor` makes of what it sees."""

from __future__ import annotations

import math

import pytest

from app.cli.checkup import (
    check_settings,
    clock_finding,
    migrations_finding,
    postgres_finding,
    redis_finding,
    workers_finding,
)


@pytest.mark.parametrize(
    ("theirs", "state", "told"),
    [
        (100.1, "ok", "agrees with this machine's"),
        (100.9, "ok", "agrees with this machine's"),
        (98.0, "warn", "2.0 s behind this machine's"),
        (103.2, "warn", "3.0 s ahead of this machine's"),
        (0.0, "fail", "100.0 s behind this machine's"),
    ],
)
def test_clocks(theirs: float, state: str, told: str) -> None:
    found = clock_finding("Redis' clock", theirs, 100.0, 100.2)
    assert (found.state, found.detail) == (state, told)
    assert bool(found.mend) == (state != "ok")


@pytest.mark.parametrize(
    ("overdue", "pool", "any_drain", "state", "told"),
    [
        (0.0, 1.0, 1.0, "ok", "they looked for work 1 s ago"),
        (4.0, 1.0, 1.0, "ok", "they looked for work 1 s ago"),
        (60.0, 1.0, 1.0, "warn", "what is due waits for 60 s"),
        (60.0, 300.0, 1.0, "warn", "only a standby delivers"),
        (60.0, 300.0, 300.0, "fail", "nobody delivers: something has been due for 60 s"),
        (0.0, 300.0, 300.0, "warn", "nobody has looked for 300 s"),
        (0.0, math.inf, math.inf, "warn", "nobody has looked for anything yet"),
    ],
)
def test_workers_are_judged_by_their_work(overdue: float, pool: float, any_drain: float, state: str, told: str) -> None:
    found = workers_finding(overdue, pool, any_drain)
    assert found.state == state
    assert told in found.detail


def test_versions_and_migrations() -> None:
    assert [postgres_finding(version).state for version in (14, 15, 18)] == ["fail", "ok", "ok"]
    versions = ("6.0.9", "6.2.0", "7.2.1", "10.0.1", "")
    assert [redis_finding(version).state for version in versions] == ["fail", "ok", "ok", "ok", "fail"]
    assert migrations_finding(["0006"], "0006").state == "ok"
    assert "at nothing, this version needs 0006" in migrations_finding([], "0006").detail
    assert "twofold migrate" in migrations_finding(["0007"], "0006").mend


def test_settings_are_named_when_they_make_no_sense() -> None:
    found = check_settings({"DATABASE_URL": "mysql://x", "REDIS_URL": "redis://x"})
    assert found.state == "fail"
    assert "DATABASE_URL must start with" in found.detail
    assert "SECRET_KEY is not set" in found.detail
