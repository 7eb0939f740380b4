"""Whatever is done to a workspace, in whatever order, the books are in order at the end.

Made by hypothesis, the same each time; LIVES=200 makes more, of another seed.
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

LIVES = int(os.environ.get("LIVES", "8"))
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


def test_the_books_are_in_order_after_any_life(ground: Ground) -> None:
    run_state_machine_as_test(
        type("Life", (Life,), {"ground": ground}),
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize="LIVES" not in os.environ,
            phases=[Phase.generate, *([Phase.shrink] if "LIVES" in os.environ else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
