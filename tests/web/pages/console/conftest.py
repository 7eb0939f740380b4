"""An operator, a viewer and a stranger in front of the console."""

from __future__ import annotations

import pytest
from flask import Flask

from app.accounts.users import OPERATOR, VIEWER
from app.database.connection import Database
from tests.web.pages.console.people import Person, signed_in


@pytest.fixture
def ana(app: Flask, database: Database) -> Person:
    """An operator who is signed in."""
    return signed_in(app, database, "ana", OPERATOR)


@pytest.fixture
def vic(app: Flask, database: Database) -> Person:
    """A viewer who is signed in."""
    return signed_in(app, database, "vic", VIEWER)


@pytest.fixture
def stranger(app: Flask) -> Person:
    """Somebody who is not signed in."""
    return Person(app)
