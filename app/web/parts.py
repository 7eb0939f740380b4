"""What the routes work with: made once by create_app, found through the current app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from app.access import Access
from app.contract_files import Schemas
from app.core.contract import Rules
from app.db import Database
from app.hub import Hub
from app.ledger import Ledger
from app.log_bus import LogReader
from app.settings import Settings
from app.web.delivery_figures import DeliveryFigures

_KEY = "twofold"


@dataclass(slots=True)
class Parts:
    """The joined parts of one process. ring: wakes a drain, best effort and without waiting."""

    settings: Settings
    database: Database
    access: Access
    ledger: Ledger
    ring: Callable[[], None]
    rules: Rules
    schemas: Schemas
    hub: Hub
    log: LogReader
    figures: DeliveryFigures


def install(app: Flask, parts: Parts) -> None:
    """Make the parts known to the app's routes."""
    app.extensions[_KEY] = parts


def parts() -> Parts:
    """The parts of the app that serves this request."""
    return cast(Parts, current_app.extensions[_KEY])
