"""What a worker asks each second is one question."""

from __future__ import annotations

from app.live.feed import ticks
from tests.delivery.world import World
from tests.statements import statements
from workers import errands


def test_one_statement_makes_the_tick_and_looks_for_bulk_retries(world: World) -> None:
    with world.database.alone() as connection:
        before = ticks.newest(connection, 0)
        world.endpoint("http://127.0.0.1:1/")
        world.publish()
        connection.exec_driver_sql("UPDATE ticks SET created_at = created_at - interval '2 s'")
        with statements() as asked:
            assert errands.run(connection) is False
        assert len(asked) == 1
        assert ticks.last(connection).id > before.id
