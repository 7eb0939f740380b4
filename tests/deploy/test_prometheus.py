"""promtool takes the rules, the example of a configuration, what the dashboard asks, and what we show."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import requests

from tests.processes import ROOT, RunningServer

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"


def questions() -> Iterator[str]:
    board = json.loads((DEPLOY / "grafana" / "twofold.json").read_text())
    for panel in board["panels"]:
        assert panel["title"]
        yield from (target["expr"] for target in panel["targets"])


def test_prometheus_takes_rules_configuration_dashboard_and_metrics(server: RunningServer, tmp_path: Path) -> None:
    asked = tmp_path / "dashboard.yml"
    rules = [{"record": f"panel:{number}", "expr": ask} for number, ask in enumerate(questions())]
    asked.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    for command, text in (
        (["check", "rules", str(RULES), str(asked)], ""),
        (["check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")], ""),
        (["check", "metrics"], requests.get(f"{server.base_url}/metrics", timeout=10).text),
    ):
        done = subprocess.run(
            ["promtool", *command], input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
