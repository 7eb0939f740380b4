"""A customer in the portal, by a link that their operator made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.web.doors import Door
from tests.web.pages.portal.guests import GuestAtPortal


@pytest.fixture
def enter(app: Flask) -> Callable[..., GuestAtPortal]:
    """Opens the portal of a workspace by a link that allows these scopes."""

    def opened(door: Door, *scopes: str) -> GuestAtPortal:
        link = door.post("/v1/portal-links", {"scopes": list(scopes)} if scopes else {})
        guest = GuestAtPortal(app, link["id"])
        assert guest.open(link["url"]).status_code == 303
        return guest

    return opened
