"""The files of deploy/ hold to the rules that a linter has for them, and name commands and settings that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import yaml

from app.cli.processes import PROCESSES
from app.settings import Settings
from tests.processes import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
STEPS = re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "docker" / "compose.yml").read_text())
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "twofold.yml").read_text()))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
REQUIRED = {field.name.upper() for field in fields(Settings) if field.metadata["default"] is None}


def settings_are_known(names: set[str]) -> bool:
    return all(f"| `{name}` |" in OPERATIONS for name in names - {"PATH", "PYTHONUNBUFFERED"})


def step(name: str) -> list[str]:
    return [words for step, words in STEPS if step == name]


def test_the_image_holds_to_hadolint_s_rules() -> None:
    """By their numbers: DL3006 and DL3007, a tag; DL3020, no ADD; DL3025, lists; DL3002, not root; DL3042, no cache;
    DL3000, absolute folders; DL3047 and SC2155 have no place here."""
    assert all(re.fullmatch(r"[\w.-]+:[\w.-]+( AS \w+)?", one) and ":latest" not in one for one in step("FROM"))
    assert step("ADD") == []
    assert all(one.startswith("[") for one in (*step("CMD"), *step("ENTRYPOINT")))
    assert [step for step, _ in STEPS].index("USER") > [step for step, _ in STEPS].index("COPY")
    assert re.fullmatch(r"[1-9]\d*", step("USER")[-1])
    assert all("--no-cache-dir" in one and "-c constraints.txt" in one for one in step("RUN") if "pip install" in one)
    assert all(one.startswith("/") for one in step("WORKDIR"))
    assert not any("apt-get" in one or "curl" in one or "sudo" in one for one in step("RUN"))


def test_the_image_copies_what_exists_and_nothing_else_is_sent_to_the_builder() -> None:
    copied = {word for words in step("COPY") if "--from" not in words for word in words.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    sent = re.findall(r"^!(\S+)$", (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert set(sent) == copied


def test_compose_runs_every_process_with_settings_that_exist() -> None:
    services = COMPOSE["services"]
    assert {service["command"][0] for service in services.values() if service.get("image") == "twofold"} == set(
        PROCESSES
    )
    for service in services.values():
        assert "latest" not in service["image"]
        if service["image"] == "twofold":
            assert settings_are_known(set(service["environment"]))
            assert set(service["environment"]) >= REQUIRED
    asked = set(re.findall(r"\$\{([A-Z_]+):\?", (DEPLOY / "docker" / "compose.yml").read_text()))
    assert asked <= set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "docker" / "example.env").read_text(), re.MULTILINE))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in MANIFESTS:
        if "template" in manifest["spec"]:
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def test_every_pod_runs_a_process_without_rights_and_within_bounds() -> None:
    started = set()
    for name, pod in pods():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["securityContext"]["readOnlyRootFilesystem"], name
        assert container["resources"]["limits"]["memory"], name
        assert settings_are_known({one["name"] for one in container.get("env", ())})
        assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
        started.add(container["args"][0])
    assert started == set(PROCESSES)


def test_kubernetes_services_find_their_pods() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in MANIFESTS if one["kind"] == "Deployment"]
    selectors = [one["spec"]["selector"] for one in MANIFESTS if one["kind"] == "Service"]
    assert selectors
    assert all(selector in labels for selector in selectors)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_every_unit_starts_a_process(unit: Any) -> None:
    text = unit.read_text()
    (command,) = re.findall(r"^ExecStart=/opt/twofold/bin/twofold (\w+)$", text, re.MULTILINE)
    assert command in PROCESSES
    assert unit.stem == f"twofold-{command}"
    assert f"{unit.stem}.service" in (DEPLOY / "systemd" / "twofold.target").read_text()
    environ = re.findall(r"^([A-Z_]+)=", (DEPLOY / "systemd" / "twofold.env").read_text(), re.MULTILINE)
    assert settings_are_known(set(environ))
    assert set(environ) >= REQUIRED


def test_proxies_hold_nothing_back_and_log_no_query() -> None:
    nginx = (DEPLOY / "nginx" / "twofold.conf").read_text()
    for line in ("proxy_buffering off;", "proxy_http_version 1.1;", "proxy_request_buffering off;", "gzip off;"):
        assert line in nginx
    assert "$request_uri" not in nginx
    assert '$request "' not in nginx
    caddy = (DEPLOY / "caddy" / "Caddyfile").read_text()
    assert "flush_interval -1" in caddy
    assert "request>uri regexp" in caddy
