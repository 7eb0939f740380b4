"""The documentation, made once for all tests that only read it: it needs neither a database nor Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.settings import Settings
from app.web.docs import library
from app.web.engine import engine_of
from tests.web.conftest import NO_ENGINES


@pytest.fixture(scope="session")
def documented() -> Iterator[Flask]:
    """An application that can only be asked for what is written about it."""
    made = create_app(Settings.from_env(NO_ENGINES))
    yield made
    engine_of(made).close()


@pytest.fixture(scope="session")
def document(documented: Flask) -> dict[str, Any]:
    """The description of the API."""
    found: dict[str, Any] = documented.test_client().get("/openapi.json").get_json()
    return found


@pytest.fixture(scope="session")
def streams(documented: Flask) -> dict[str, Any]:
    """The description of the live streams."""
    found: dict[str, Any] = documented.test_client().get("/asyncapi.json").get_json()
    return found


@pytest.fixture(scope="session")
def pages(document: dict[str, Any]) -> dict[str, library.Page]:
    """The pages, by name."""
    return library.pages(document, document["servers"][0]["url"])
