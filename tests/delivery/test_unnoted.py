"""What a drain could not note of deliveries that were given up ends no run, and is noted later."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

import pytest

from app.delivery.unnoted import PAUSE_SECONDS
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
DAY = timedelta(days=1)


def test_a_note_that_cannot_be_written_ends_no_run_and_is_written_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    later = 0.0
    drain = world.drain(clock=lambda: time.monotonic() + later)
    with ScriptedServer(answering(NO)) as receiver, ScriptedServer(answering(OK)) as other, caplog.at_level("WARNING"):
        endpoint = world.endpoint(receiver.url, event_types=["call.*"])
        world.endpoint(other.url, event_types=["bot.*"])
        world.publish(2)
        world.let_pass(DAY)
        world.sql("ALTER TABLE endpoint_notices RENAME TO away")
        try:
            drain.run()
        finally:
            world.sql("ALTER TABLE away RENAME TO endpoint_notices")
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "told of later" in caplog.text
        assert world.statuses() == {"failed": 2}
        later = PAUSE_SECONDS
        world.publish(type="bot.joined")
        drain.run()
    ((noted, count),) = world.sql("SELECT endpoint_id, exhausted FROM endpoint_notices")
    assert (noted, count) == (endpoint, 2)


def test_the_note_comes_before_endpoints_are_disabled(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.sql("ALTER TABLE endpoints ADD CONSTRAINT kept CHECK (status = 'enabled')")
    try:
        with ScriptedServer(answering(NO)) as receiver:
            world.endpoint(receiver.url, event_types=["call.*"])
            world.publish()
            world.drain().run()
            world.let_pass(30 * DAY)
            world.drain().run()
    finally:
        world.sql("ALTER TABLE endpoints DROP CONSTRAINT kept")
    assert "deliveries pause" in caplog.text
    assert world.statuses() == {"failed": 1}
    assert world.one("SELECT exhausted FROM endpoint_notices") == 1
