"""Behind nginx as deploy/nginx configures it: streams come frame by frame, WebSockets pass, and a restart of all web
servers, one after the other, costs nobody an event."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from websockets.sync.client import connect

from tests.conftest import StartServer
from tests.deploy.proxy import Proxy, proxied
from tests.processes import RunningProcess, RunningServer, eventually, free_port, start_web

EVENTS = 40


@pytest.fixture
def servers(start_server: StartServer, tmp_path: Path) -> Iterator[tuple[RunningServer, dict[str, RunningProcess]]]:
    """A web server and a second one beside it, by their ports."""
    first = start_server()
    port = str(free_port())
    second = start_web({**first.env, "PORT": port}, tmp_path / "second.log")
    running = {first.env["PORT"]: first.web, port: second}
    yield first, running
    for process in running.values():
        process.kill_all()


@pytest.fixture
def proxy(servers: tuple[RunningServer, dict[str, RunningProcess]], tmp_path: Path) -> Iterator[Proxy]:
    with proxied(tmp_path, list(servers[1])) as found:
        yield found


def publish(proxy: Proxy, server: RunningServer, stream: str, number: int) -> None:
    """Post one event through the proxy, again and again until it is answered well."""
    event = {
        "stream": {"kind": "call", "id": stream},
        "type": "x.y",
        "data": {"n": number},
        "idempotency_key": f"n{number}",
    }

    def posted() -> bool:
        with suppress(requests.RequestException):
            url = f"{proxy.base_url}/v1/events"
            answer = requests.post(url, json=event, headers=server.headers, verify=str(proxy.certificate), timeout=20)
            return answer.status_code in (200, 202)
        return False

    eventually(posted, 60)


def test_streams_websockets_and_a_restart_of_all_servers(
    servers: tuple[RunningServer, dict[str, RunningProcess]], proxy: Proxy, tmp_path: Path
) -> None:
    server, running = servers
    publish(proxy, server, "http2", 0)
    frames_come_over_http2(proxy, server, tmp_path)
    a_websocket_passes(proxy, server)
    the_feed_passes(proxy, server)
    assert requests.get(f"{proxy.base_url}/metrics", verify=str(proxy.certificate), timeout=10).status_code == 404
    a_restart_costs_nobody_an_event(proxy, server, running, tmp_path)
    assert "after_seq" not in proxy.log.read_text(), "a query may hold a token"


def frames_come_over_http2(proxy: Proxy, server: RunningServer, tmp_path: Path) -> None:
    seen = tmp_path / "http2"
    url = f"{proxy.base_url}/v1/streams/call/http2/live?after_seq=0"
    command = ["curl", "-sNi", "--http2", "--cacert", str(proxy.certificate), url]
    with seen.open("wb") as output:
        watching = subprocess.Popen([*command, "-H", f"Authorization: Bearer {server.workspace_key}"], stdout=output)
    try:
        for number in range(3):  # each is seen before the next one is posted: nothing is held back
            eventually(lambda number=number: f"\nid: {number + 1}\n" in seen.read_text(), 30)
            publish(proxy, server, "http2", number + 1)
        assert seen.read_text().startswith("HTTP/2 200")
    finally:
        watching.terminate()
        watching.wait(10)


def a_websocket_passes(proxy: Proxy, server: RunningServer) -> None:
    trusting = ssl.create_default_context(cafile=str(proxy.certificate))
    url = proxy.base_url.replace("https", "wss") + "/v1/streams/call/http2/ws?after_seq=0"
    with connect(url, ssl=trusting, additional_headers=server.headers, open_timeout=30, proxy=None) as socket:
        assert json.loads(socket.recv(30))["seq"] == 1


def the_feed_passes(proxy: Proxy, server: RunningServer) -> None:
    """Also by QUERY, a method that proxies may not know."""
    asked, sent = {"streams": ["call:http2"], "limit": 1}, {"verify": str(proxy.certificate), "timeout": 30}
    page = requests.request("QUERY", f"{proxy.base_url}/v1/feed", json=asked, headers=server.headers, **sent).json()
    assert page["data"][0]["event"]["seq"] == 1
    follow = {**server.headers, "Last-Event-ID": page["cursor"]}
    url = f"{proxy.base_url}/v1/feed/live?kinds=call"
    with requests.get(url, headers=follow, stream=True, **sent) as live:
        assert b'"seq":2,' in next(line for line in live.iter_lines(chunk_size=1) if line.startswith(b"data: "))


def a_restart_costs_nobody_an_event(
    proxy: Proxy, server: RunningServer, running: dict[str, RunningProcess], tmp_path: Path
) -> None:
    seqs: list[int] = []
    over = threading.Event()
    publish(proxy, server, "rolling", 0)
    viewer = threading.Thread(target=watch, args=(proxy, server, "rolling", seqs, over))
    viewer.start()
    producer = threading.Thread(
        target=lambda: [publish(proxy, server, "rolling", number) for number in range(1, EVENTS)]
    )
    producer.start()
    try:
        for port in list(running):
            assert running[port].stop() == 0
            running[port] = start_web({**server.env, "PORT": port}, tmp_path / f"again-{port}.log")
        producer.join(120)
        eventually(lambda: seqs and seqs[-1] == EVENTS, 60, about=lambda: str(seqs))
    finally:
        over.set()
        viewer.join(60)
    assert seqs == list(range(1, EVENTS + 1))


def watch(proxy: Proxy, server: RunningServer, stream: str, seqs: list[int], over: threading.Event) -> None:
    """A viewer who comes back with the last id that it has seen."""
    while not over.is_set():
        headers = {**server.headers, "Last-Event-ID": str(seqs[-1] if seqs else 0)}
        with suppress(requests.RequestException):
            url = f"{proxy.base_url}/v1/streams/call/{stream}/live"
            with requests.get(
                url, headers=headers, verify=str(proxy.certificate), stream=True, timeout=(10, 20)
            ) as answer:
                for line in answer.iter_lines(chunk_size=1):
                    if line.startswith(b"id: "):
                        seqs.append(int(line[4:]))
                    if over.is_set():
                        return
