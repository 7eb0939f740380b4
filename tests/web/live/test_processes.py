"""Several web processes: what one accepts, the streams of the others show at once, in one order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil

from tests.conftest import StartServer
from tests.web.live.watching import Stage


def test_what_one_process_accepts_the_others_show(start_server: StartServer) -> None:
    stage = Stage(start_server(WEB_CONCURRENCY="3"))
    stage.post_count(1)
    assert len(psutil.Process(stage.server.pid).children()) == 3
    with ExitStack() as stack:
        watches = [stack.enter_context(stage.watch()) for _ in range(24)]
        assert {watch.status for watch in watches} == {200}
        # Each with a connection of its own, so that the requests are spread over the processes.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: another(stage).post_count(5), range(24)))
        for watch in watches:
            watch.read_events(120)
        assert not any(b"keepalive" in watch.body for watch in watches)  # all came within the first heartbeat
        shown = {watch.shown for watch in watches}
        assert len(shown) == 1, "every process shows the same bytes in the same order"
        assert watches[0].seqs == list(range(2, 122))
        stage.end()
        for watch in watches:
            watch.read_to_end()


def another(stage: Stage) -> Stage:
    """The same stream, posted to over another connection."""
    made = Stage(stage.server)
    made.id = stage.id
    return made
