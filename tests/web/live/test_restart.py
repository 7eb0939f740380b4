"""A process that ends sends its viewers away once, and in a way that nobody takes for the end of the stream."""

from __future__ import annotations

import re
import signal
from urllib.parse import urlsplit

import pytest

from tests.conftest import StartServer
from tests.contracts.wire import Connection
from tests.processes import RunningServer
from tests.web.live.watching import Stage, open_path


def test_a_stream_says_at_its_opening_when_to_come_back(server: RunningServer) -> None:
    stage = Stage(server)
    stage.post_count(1)
    bodies = []
    for _ in range(8):
        with stage.watching("?after_seq=0") as watch:
            watch.read_events(1)
            bodies.append(watch.body)
    # Without a blank line behind it, which some clients take for an event.
    found = [re.match(rb"retry: ([1-5]\d{3})\nevent: note.added\nid: 1\ndata: ", body) for body in bodies]
    assert all(found)
    assert len({one[1] for one in found if one}) > 1, "another time for each"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=["reload", "stop"])
def test_a_process_that_ends_cuts_its_streams_without_the_last_chunk(
    start_server: StartServer, number: signal.Signals
) -> None:
    stage = Stage(start_server())
    stage.post_count(1)
    log = f"{stage.server.base_url}/v1/deliveries/live"
    key = f"Bearer {stage.server.workspace_key}"
    with (
        stage.watching("?after_seq=0") as watch,
        open_path(stage.server, urlsplit(log).path, Authorization=key) as log_view,
    ):
        watch.read_events(1)
        assert log_view.status == 200
        log_view.read_until(lambda: log_view.body.startswith(b"retry: "))
        stage.server.web.send_signal(number)
        watch.read_to_close(30)
        log_view.read_to_close(30)
        assert not watch.whole
        assert not log_view.whole
        assert watch.body.endswith(b"\n\n"), "and nothing behind the last event"
        assert watch.body.count(b"retry: ") == log_view.body.count(b"retry: ") == 1
    stage.server.stop()
    assert "Traceback" not in stage.server.web.log_text()


def test_a_stream_over_a_kept_connection_is_not_opened_by_a_process_that_ends(start_server: StartServer) -> None:
    """It would be sent away at once. A connection that closes without an answer is tried again on a new one."""
    stage = Stage(start_server())
    stage.post_count(1)
    healthz = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with stage.watching() as watch, Connection(stage.server.base_url, healthz) as kept:
        kept.read_to_end()
        assert kept.status == 200
        stage.server.web.send_signal(signal.SIGTERM)
        watch.read_to_close(30)
        before = len(kept.raw)
        key = f"Authorization: Bearer {stage.server.workspace_key}"
        kept.socket.sendall(f"GET {stage.live}?after_seq=0 HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n".encode())
        kept.read_until(lambda: kept.closed)
        assert len(kept.raw) == before
    stage.server.stop()
    assert "Traceback" not in stage.server.web.log_text()
