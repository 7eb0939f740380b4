"""`make demo` plays every contract's recording through the real product, and says by its exit status how it went."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.processes import ROOT, RunningServer, eventually

# contract -> events posted, and how many of them each view shows
EXPECTED = {
    "": (359, {"live stream": 359}),
    "serveka": (79, {"bot stream": 79}),
    "voicebip": (96, {"transcript": 23, "call events": 39, "conversation": 57}),
    "atoms": (60, {"call stream": 60}),
    "aitronos": (41, {"session stream": 41}),
}


@pytest.fixture
def described(product: RunningServer, tmp_path: Path) -> dict[str, str]:
    """An environment in which the demo finds the product."""
    run = {"base_url": product.base_url, "workspace_key": product.workspace_key}
    (tmp_path / "dev.json").write_text(json.dumps(run))
    return {**os.environ, "TWOFOLD_VAR": str(tmp_path)}


def demo(env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.demo", *options]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def endpoints(product: RunningServer) -> list[Any]:
    found = requests.get(f"{product.base_url}/v1/endpoints?limit=250", headers=product.headers, timeout=10).json()
    return [endpoint for endpoint in found["data"] if endpoint["description"] == "make demo"]


@pytest.mark.parametrize("contract", EXPECTED)
def test_everything_that_is_posted_arrives_on_every_view_and_by_webhook(
    contract: str, described: dict[str, str], product: RunningServer
) -> None:
    done = demo({**described, "CONTRACT": contract}, "--rate", "60", "--deadline", "60", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    posted, views = EXPECTED[contract]
    arrived = {name: figures["arrived"] for name, figures in outcome["views"].items()}
    assert outcome["posted"] == outcome["acknowledged"] == posted
    assert arrived == {**views, "webhook": posted}
    assert outcome["views"]["webhook"]["verified"] == posted
    assert [outcome[name] for name in ("refused", "unanswered", "reconnects")] == [0, 0, 0]
    assert endpoints(product) == []


def test_an_interrupted_demo_removes_its_endpoint_and_says_so(
    described: dict[str, str], product: RunningServer
) -> None:
    command = [sys.executable, "-m", "app.demo"]
    with subprocess.Popen(command, cwd=ROOT, env=described, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        eventually(lambda: endpoints(product), 20, about="an endpoint of the demo")
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert b"interrupted" in said
    assert endpoints(product) == []


def test_without_a_product_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = demo({**os.environ, "TWOFOLD_VAR": str(tmp_path)})
    assert done.returncode == 1
    assert "make run" in done.stderr
    (tmp_path / "dev.json").write_text('{"base_url": "http://127.0.0.1:9", "workspace_key": "pk_1"}')
    assert "make run" in demo({**os.environ, "TWOFOLD_VAR": str(tmp_path)}).stderr
