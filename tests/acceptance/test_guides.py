"""The guides of /docs, literally: their own commands and functions, in their own order."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from app.web.docs import library
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.guides import SECRET, blocks, code, signed
from tests.processes import RunningServer, eventually, free_port
from twofold import Client

WITH_COMMANDS = [name for name in library.GUIDES if blocks(name, "sh")]
# A refusal ends the script; a command that watches a stream goes on after a moment.
SHELL = """
curl() {
  case " $* " in
    *" -sN "*) command curl --max-time 0.5 "$@" || true ;;
    *"/skip "*) until command curl --fail-with-body "$@"; do :; done ;;  # not while it is being sent
    *) command curl --fail-with-body "$@" ;;
  esac
}
"""


def test_guides_have_commands() -> None:
    assert WITH_COMMANDS == ["first-webhook", "retries", "order", "batches", "streams", "feed", "pulling", "polling"]


def test_the_commands_of_all_guides_do_what_they_say(product: RunningServer) -> None:
    written = "\n".join(block for name in WITH_COMMANDS for block in blocks(name, "sh"))
    with ScriptedServer(answering(OK)) as receiver:
        assert "https://example.com/in" in written
        assert "https://example.com/away" in written
        script = SHELL + written.replace("https://example.com/in", receiver.url)
        script = script.replace("https://example.com/away", f"http://127.0.0.1:{free_port()}/")  # nobody listens there
        environ = {"PATH": os.environ["PATH"], "BASE": product.base_url, "KEY": product.workspace_key}
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        eventually(lambda: {b"twofold.test", b"call.barge_in"} <= types(receiver), 30)
        eventually(lambda: any(seen.body.startswith(b"[") for seen in receiver.seen), 30, about="a batch")
    with Client(product.base_url, product.workspace_key) as client:
        for endpoint in list(client.endpoints.each()):
            client.endpoints.delete(endpoint["id"])  # nobody receives there any more
    assert '"active":true' in done.stdout
    assert '"behind":1' in done.stdout


def types(receiver: ScriptedServer) -> set[bytes]:
    return {seen.body.split(b'"type":"')[1].split(b'"')[0] for seen in receiver.seen}


@pytest.mark.parametrize(
    ("age_seconds", "added", "good"), [(0, b"", True), (0, b" ", False), (400, b"", False), (-400, b"", False)]
)
def test_the_function_for_python_verifies_what_we_sign_and_nothing_else(
    age_seconds: int, added: bytes, good: bool
) -> None:
    names: dict[str, object] = {}
    exec(code("verify", "python"), names)
    body = '{"a":"ü"}'.encode()
    secret, headers = signed(body, int(time.time()) - age_seconds)
    verify = names["verify"]
    assert callable(verify)
    assert verify(secret, headers, body + added) is good


def test_openssl_makes_the_signature_that_we_send(tmp_path: Path) -> None:
    body = b'{"a":1}'
    (tmp_path / "body").write_bytes(body)
    _, headers = signed(body, 1614265330)
    known = {"SECRET": SECRET, "WEBHOOK_ID": headers["webhook-id"], "WEBHOOK_TIMESTAMP": headers["webhook-timestamp"]}
    command = ["/bin/bash", "-euo", "pipefail", "-c", code("verify", "bash")]
    env = {"PATH": os.environ["PATH"], **known}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout in headers["webhook-signature"].split(" ")
