"""Whatever is done to a workspace, in whatever order, the books are in order at the end.

Made by hypothesis, a few by `make test` and more by `make test-long`, the same each time; LIVES=200 makes more, of
another seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from app.database.connection import Database
from app.settings import Settings
from tests.conftest import StartServer
from tests.delivery.world import World
from tests.hostile.lives import Ground, Life

WANTED = os.environ.get("LIVES")
LIVES = [int(WANTED)] if WANTED else [3, pytest.param(12, marks=pytest.mark.long)]
STEPS = 20


@pytest.fixture
def ground(start_server: StartServer) -> Iterator[Ground]:
    server = start_server()
    database = Database(server.database_url)
    world = World(database, Settings.from_env(server.env))
    made = Ground(server, world)
    yield made
    made.close()
    world.close()
    database.close()


@pytest.mark.parametrize("lives", LIVES)
def test_the_books_are_in_order_after_any_life(ground: Ground, lives: int) -> None:
    run_state_machine_as_test(
        type("Life", (Life,), {"ground": ground}),
        settings=settings(
            max_examples=lives,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=WANTED is None,
            phases=[Phase.generate, *([Phase.shrink] if WANTED else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
