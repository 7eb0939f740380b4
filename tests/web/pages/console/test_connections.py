"""The console's page of live connections."""

from __future__ import annotations

import re

from app.web.engine import engine_of
from tests.live.scripted import ReaderOfFeed
from tests.web.doors import Door
from tests.web.pages.console.people import Person


def test_a_reader_of_the_feed_is_shown_and_can_be_disconnected(ana: Person, vic: Person, acme: Door) -> None:
    reader = ReaderOfFeed(acme.workspace_id)
    with engine_of(ana.app).census.listing(reader):
        page = ana.get(f"/console/connections?workspace={acme.workspace_id}")
        assert f'<a href="/console/feed/{acme.workspace_id}">the feed</a>' in page
        assert '<td data-label="Contract">feed</td><td data-label="Transport">WebSocket</td>' in page
        assert '<td data-label="Behind" class="number">7 or more</td>' in page
        (path,) = re.findall(r'action="(/console/connections/[^"]+/disconnect)"', page)
        assert path not in vic.get("/console/connections")
        assert ana.send(path).status_code == 303
    assert reader.ended == ["disconnected"]
    assert "Nobody watches anything of this customer" in ana.get(f"/console/connections?workspace={acme.workspace_id}")
