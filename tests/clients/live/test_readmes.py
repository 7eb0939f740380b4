"""clients/javascript/README.md and clients/go/README.md, literally: each block runs against a server, or compiles."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from app.core.webhook.signing import new_secret, sign
from tests.clients.live.programs import run, tool
from tests.clients.readme import ADDRESS, blocks
from tests.processes import ROOT, RunningServer, environment, eventually
from twofold import Client

OWN_TOKEN = 'async () => (await fetch("/twofold-token")).text()'
STREAM = "call_in_javascript_readme"


def test_the_blocks_of_javascript_do_what_they_say(server: RunningServer, tmp_path: Path) -> None:
    subscribe, loop, feed, consume, verify, publish = blocks("javascript", "js")
    with Client(server.base_url, server.workspace_key) as client:
        cursor = client.feed.page("latest")["cursor"]
        client.events.publish("call", STREAM, "call.barge_in", {"at_ms": 1})
        client.streams.end("call", STREAM)
    secret, at, body = new_secret(b"s" * 32), int(time.time()), '{"id":"evt_1"}'
    signed = {"webhook-id": "evt_1", "webhook-timestamp": str(at)}
    signed["webhook-signature"] = sign([secret], "evt_1", at, body.encode())
    known = {
        "key": server.workspace_key,
        "url": f"{server.base_url}/v1/streams/call/{STREAM}/live",
        "headers": {"Authorization": f"Bearer {server.workspace_key}"},
        "cursor": cursor,
        "secret": secret,
        "request": {"headers": signed},
        "body": body,
    }
    prelude = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in known.items())
    prelude += "const signal = AbortSignal.timeout(20000);\n"
    assert OWN_TOKEN in subscribe
    subscribe = subscribe.replace(OWN_TOKEN, "async () => key").replace("// later\n", "await subscription.done;\n")
    loop = loop.replace("{ headers, signal }", '{ headers, signal, lastEventId: "0" }')
    for number, (block, shown) in enumerate(
        [
            (subscribe, "1 call.barge_in"),
            (loop, "type: 'call.barge_in'"),
            (feed, "call.barge_in"),
            (consume, "evt_"),
            (f"{verify}\nconsole.log(event.id);", "evt_1"),
            (f"{publish}\nconsole.log(seq, unsent.length);", "1 0"),
        ]
    ):
        program = prelude + block.replace(ADDRESS, server.base_url).replace(
            "call_42", STREAM if number < 2 else "js_readme"
        )
        shows(program, shown, tmp_path / f"{number}.out", server.workspace_key)


def shows(program: str, shown: str, output: Path, key: str) -> None:
    """The program prints this, and is ended then if it does not end by itself."""
    command = [tool("node"), "--input-type=module", "-e", program]
    env = environment({"TWOFOLD_KEY": key})
    with output.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT / "clients/javascript", env=env, stdout=out, stderr=out)
    try:
        eventually(lambda: shown in output.read_text(), 30, about=output.read_text)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("block", blocks("go", "go"))
def test_each_block_of_go_compiles(block: str, tmp_path: Path) -> None:
    used = {
        "context": "ctx context.Context",
        "net/http": "request *http.Request, response http.ResponseWriter",
        "encoding/json": "_ json.RawMessage",
        "fmt": "_ fmt.Stringer",
        "errors": "",
    }
    imports = "".join(f'import "{name}"\n' for name in used)
    given = ", ".join(filter(None, used.values()))
    declared = {name for found in re.findall(r"^([\w, ]+) :=", block, re.MULTILINE) for name in found.split(", ")}
    after = "".join(f"_ = {name}\n" for name in sorted(declared))
    text = (
        f'package main\n{imports}import "twofold"\nvar _ = errors.New\nfunc main() {{}}\n'
        f"func f({given}, key, secret, cursor string, body []byte) {{\n{block}{after}}}\n"
    )
    (tmp_path / "main.go").write_text(text)
    module = f"module m\ngo 1.21\nrequire twofold v0.1.0\nreplace twofold => {ROOT / 'clients/go'}\n"
    (tmp_path / "go.mod").write_text(module)
    run([tool("go"), "vet", "."], tmp_path)
