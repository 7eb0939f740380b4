"""PostgreSQL goes away under open streams: they stay, say so to who comes meanwhile, and go on without a gap."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
import requests

from app.local.embedded import EmbeddedPostgres
from tests.conftest import StartServer
from tests.delivery.outages import no_connections
from tests.processes import eventually
from tests.web.live.watching import Stage

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


def test_streams_outlive_their_database_connections(start_server: StartServer, postgres: EmbeddedPostgres) -> None:
    stage = Stage(start_server())
    stage.post_count(1)
    name = urlsplit(stage.server.database_url).path[1:]
    event = {"stream": {"kind": stage.kind, "id": stage.id}, "type": "note.added", "data": {}}

    def post(key: str) -> int:
        url, headers = f"{stage.server.base_url}/v1/events", {**stage.server.headers, "Idempotency-Key": key}
        return requests.post(url, json=event, headers=headers, timeout=20).status_code

    with stage.watching("?after_seq=0") as watch, psycopg.connect(postgres.url, autocommit=True) as killer:
        watch.read_events(1)  # the replay is done: a stream that loses its connection in the middle of one is cut
        for number in range(10):
            killer.execute(KILL, [name])
            assert eventually(lambda number=number: post(f"k{number}") in (200, 202))
            if number == 5:
                stage.post('{"x":"' + "x" * 20_000 + '"}')  # not on the bus: the hub itself has to read it
        watch.read_events(12)
        with no_connections(postgres, stage.server.database_url):
            answer = requests.post(
                f"{stage.server.base_url}/v1/events", json=event, headers=stage.server.headers, timeout=20
            )
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["Retry-After"] == "1"
            with stage.watch() as refused:
                assert refused.status == 503
            watch.read_for(2.5)  # the hub looks in vain for what the bus may have lost
            assert not watch.closed
        assert eventually(lambda: post("after") == 202)
        watch.read_events(13)
        assert watch.seqs == list(range(1, 14))
    log = stage.server.web.log_text()
    assert "Traceback" not in log
    assert log.count("hub-poll:") <= 2  # an outage is said once, not every second
