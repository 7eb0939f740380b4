"""A ledger over a fresh database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.database.connection import Database
from tests.ledger.books import Books


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    """A workspace and its ledger."""
    made = Books(database)
    yield made
    made.close()
