"""A workspace of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.database.connection import Database
from app.settings import Settings
from tests.workers.world import World


@pytest.fixture
def world(database: Database, settings: Settings) -> Iterator[World]:
    """A workspace, and what is needed to deliver its events."""
    found = World(database, settings)
    yield found
    found.close()
