"""The image, tried without a container engine: its steps, run as a script in an empty folder, give a server that starts
from its entry point."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import requests

from app.local import children
from app.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.conftest import SECRET_KEY
from tests.processes import ROOT, eventually, free_port

DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
_, BUILD, FINAL = DOCKERFILE.split("\nFROM ")
INSTALLED = "/opt/twofold"


def steps(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^(WORKDIR|COPY|RUN|ENV|ENTRYPOINT|CMD) (.+)$", text, re.MULTILINE)


def build(root: Path) -> None:
    """The steps of the first stage, below `root`."""
    folder = root
    for step, words in steps(BUILD):
        if step == "WORKDIR":
            folder = root / words.lstrip("/")
            folder.mkdir(parents=True)
        elif step == "COPY":
            *names, target = words.split()
            for name in names:
                place = folder / target if len(names) == 1 else folder / target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, place)
        elif step == "RUN":
            command = words.replace(INSTALLED, f"{root}{INSTALLED}")
            path = f"{Path(sys.executable).resolve().parent}{os.pathsep}{os.environ['PATH']}"
            env = {**os.environ, "PATH": path}
            done = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=folder, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def started(root: Path) -> tuple[list[str], dict[str, str]]:
    """The entry point, and the environment that the image gives to it."""
    found = dict(steps(FINAL))
    environ = dict(pair.split("=", 1) for pair in found["ENV"].split())
    environ["PATH"] = environ["PATH"].replace("$PATH", os.environ["PATH"]).replace(INSTALLED, f"{root}{INSTALLED}")
    return [shutil.which(json.loads(found["ENTRYPOINT"])[0], path=environ["PATH"]) or ""], environ


def test_the_steps_of_the_image_give_a_server(
    tmp_path: Path, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis
) -> None:
    root, empty = tmp_path / "root", tmp_path / "empty"
    empty.mkdir()
    build(root)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE image")
    program, environ = started(root)
    port = str(free_port())
    url = postgres.url.rpartition("/")[0] + "/image"
    environ |= {"DATABASE_URL": url, "REDIS_URL": redis_server.url, "SECRET_KEY": SECRET_KEY}
    environ |= {"PORT": port, "HOST": "127.0.0.1", "WEB_CONCURRENCY": "1"}
    subprocess.run([*program, "migrate"], cwd=empty, env=environ, check=True, capture_output=True, timeout=120)
    command = json.loads(dict(steps(FINAL))["CMD"])
    with (tmp_path / "log").open("wb") as log:
        web = children.spawn([*program, *command], env=environ, directory=empty, output=log.fileno())
    try:
        eventually(lambda: is_ready(port), 60, about=(tmp_path / "log").read_text)
    finally:
        web.terminate()
        assert web.wait(30) == 0
    assert list(empty.iterdir()) == []


def is_ready(port: str) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False
