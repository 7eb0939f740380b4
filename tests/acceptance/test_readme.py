"""README's five minutes, literally: its own commands, run in its own order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from app.core.webhook.signing import new_secret, sign
from tests.acceptance.readme import README, blocks
from tests.processes import ROOT, RunningServer, eventually, free_port
from twofold import Client

SECONDS = 60.0  # each look at the log starts three programs, and a busy machine takes its time


@pytest.fixture
def shell(product: RunningServer, tmp_path: Path) -> Callable[[str], list[str]]:
    """A function that makes a block of README runnable here: other ports, another place of dev.json."""
    described = tmp_path / "dev.json"
    described.write_text(json.dumps({"base_url": product.base_url, "workspace_key": product.workspace_key}))
    places = {
        "http://127.0.0.1:8000": product.base_url,
        "9000": str(free_port()),
        "var/dev.json": str(described),
        ".venv/bin/twofold": f"{sys.executable} -m app.cli",
        ".venv/bin/python": sys.executable,
    }

    def command(text: str) -> list[str]:
        found = re.sub("|".join(map(re.escape, places)), lambda match: places[match.group()], blocks()[0] + text)
        return ["/bin/bash", "-euc", found]

    return command


@contextmanager
def kept_running(command: list[str], output: Path) -> Iterator[None]:
    """A command in a terminal of its own, until the end of the block."""
    env = {**os.environ, "TWOFOLD_VAR": str(output.parent)}
    with output.open("wb") as file:
        run = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(run.pid, signal.SIGTERM)
        run.wait(timeout=10)


def test_the_five_minutes_with_curl(shell: Callable[[str], list[str]], tmp_path: Path) -> None:
    def run(text: str) -> list[dict[str, object]]:
        done = subprocess.run(shell(text), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        answers = re.sub(r"\}\s*\{", "}\n{", done.stdout).split("\n")
        return [json.loads(answer) for answer in answers if answer]

    _, listen, register, watch, page, post, log, end = blocks()
    create, follow = watch.strip().split("\n")
    heard, seen = tmp_path / "heard", tmp_path / "seen"
    with ExitStack() as stack:
        stack.enter_context(kept_running(shell(listen), heard))
        eventually(lambda: "Listening" in heard.read_text(), SECONDS, about="the receiver listens")
        assert str(run(register)[0]["secret"]).startswith("whsec_")
        assert run(create)[0]["status"] == "open"
        stack.enter_context(kept_running(shell(follow), seen))
        printed = subprocess.run(shell(page), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
        assert re.fullmatch(r"http://[\d.:]+/live/call/call_42#token=[\w.-]+\n", printed)
        (first,) = run(post)
        (again,) = run(post)
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        assert first["id"] == again["id"]
        eventually(lambda: ": verified" in heard.read_text(), SECONDS, about="a verified webhook")
        eventually(lambda: "\ndata: " in seen.read_text(), SECONDS, about="the event on the stream")
        envelope = seen.read_text().split("\ndata: ")[1].split("\n")[0]
        assert '"data":{"at_ms":1200,"gain":1.0}' in envelope
        assert envelope in heard.read_text(), "not the same bytes"
        eventually(lambda: run(log)[1]["status"] == "delivered", SECONDS, about="the delivery log")
        listed, single = run(log)
        assert listed["data"][0]["event_id"] == first["id"]  # type: ignore[index]
        assert single["attempts"][0]["status_code"] == 204  # type: ignore[index]
        assert run(end)[0]["status"] == "ended"
    assert seen.read_text().count("\ndata: ") == 1
    assert heard.read_text().count(str(first["id"])) <= 2, "one line for the webhook, one for its body"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    file, _, _ = link.partition("#")  # what stands behind it, a test or a heading: tests/test_documents.py
    assert link.startswith("https://") or (ROOT / file).exists()


def test_the_python_lines_publish_read_and_verify(product: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    """With a stream of their own, which ends; and with a webhook as a worker signs it."""
    text = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    text = text.replace("http://127.0.0.1:8000", product.base_url).replace("call_42", "call_in_readme")
    secret, now = new_secret(b"s" * 32), int(time.time())
    body = b'{"id":"evt_1","type":"call.barge_in"}'
    headers = {"Webhook-Id": "evt_1", "Webhook-Timestamp": str(now)}
    headers["Webhook-Signature"] = sign([secret], "evt_1", now, body)
    names = {"key": product.workspace_key, "secret": secret, "request": SimpleNamespace(headers=headers, body=body)}
    reader = Thread(target=exec, args=(text, names))
    reader.start()
    with Client(product.base_url, product.workspace_key) as client:
        eventually(lambda: list(client.events.each("call", "call_in_readme")), SECONDS)
        client.streams.end("call", "call_in_readme")
    reader.join(30)
    assert names["event"] == {"id": "evt_1", "type": "call.barge_in"}
    number, type, data = capsys.readouterr().out.split(" ", 2)
    assert (number, type, json.loads(data)["data"]) == ("1", "call.barge_in", {"at_ms": 1200})
