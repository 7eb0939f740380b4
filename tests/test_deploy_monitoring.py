"""Alerts and dashboards name metrics that exist, and each alert leads to a page that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import requests

from tests.processes import ROOT, RunningServer

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
NAMING = (RULES, DEPLOY / "grafana" / "twofold.json", ROOT / "docs" / "runbook.md")
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture(scope="module")
def shown(server: RunningServer) -> str:
    return requests.get(f"{server.base_url}/metrics", timeout=10).text


def families(shown: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\w+) \w+$", shown, re.MULTILINE))


@pytest.mark.parametrize("file", NAMING, ids=lambda file: file.name)
def test_every_metric_that_is_named_exists(file: Path, shown: str) -> None:
    named = {SUFFIXES.sub("", name) for name in re.findall(r"\btwofold_\w+", file.read_text(encoding="utf-8"))}
    assert named
    assert named - families(shown) == set()


def test_every_alert_leads_to_what_to_do() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^## (.+)$", page, re.M)
    }
    rules = RULES.read_text(encoding="utf-8")
    links = re.findall(r'runbook_url: "docs/runbook\.md#([\w-]+)"', rules)
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(links) == len(alerts) >= 15
    assert set(links) == headings
    assert [alert for alert in alerts if f"`{alert}`" not in page] == []
