"""An installed wheel in a virtual environment, with an empty folder to run its commands in and engines of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import requests
from standardwebhooks import Webhook

from app.client.receiving import WebhookServer
from app.local import children
from app.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.packaging.interpreters import Interpreter
from tests.processes import ROOT, environment, eventually, free_port, handles, is_ready

SECRET_KEY = "0123456789abcdef" * 4
START_SECONDS = 60.0


@dataclass
class Installation:
    """`twofold` in `venv`. folder: empty, where its commands are run; env: its settings."""

    venv: Path
    folder: Path
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    env: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.env['PORT']}"

    def run(self, *command: str) -> str:
        """What a command prints; it must end with status 0."""
        done = self.ended(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ended(self, *command: str) -> subprocess.CompletedProcess[str]:
        """How a command ended."""
        program = [self.venv / "bin" / "twofold", *command]
        return subprocess.run(
            program, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, command: str) -> None:
        """Start a command that goes on running; its output is in a file beside the folder."""
        with self.log(command).open("wb") as output:
            process = children.spawn(
                [str(self.venv / "bin" / "twofold"), command], env=self.env, directory=self.folder, output=output
            )
        self.started.append(process)
        eventually(lambda: handles(process.pid, signal.SIGTERM), START_SECONDS, about=self.log(command).read_text)

    def log(self, command: str) -> Path:
        return self.folder.with_name(f"{command}.log")

    def stop(self) -> list[int]:
        """End what was started by SIGTERM; the exit statuses."""
        for process in self.started:
            process.send_signal(signal.SIGTERM)
        processes, self.started = self.started, []
        return [process.wait(40) for process in processes]

    def serve(self) -> None:
        """Start web and worker; returns when the API is ready."""
        self.start("web")
        self.start("worker")
        eventually(lambda: is_ready(self.base_url), START_SECONDS, about=self.log("web").read_text)

    def api(self, key: str, method: str, path: str, body: object = None) -> Any:
        """A JSON answer that must be 2xx."""
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.request(method, self.base_url + path, json=body, headers=headers, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def publish(self, key: str, type: str) -> None:
        """Post an event of this type."""
        self.api(key, "POST", "/v1/events", {"stream": {"kind": "call", "id": "call_1"}, "type": type, "data": {}})

    def make_key(self) -> str:
        """The key of a new workspace, made on the command line."""
        workspace = json.loads(self.run("workspace", "create", "--name", "Acme", "--uid", "acme"))
        return str(json.loads(self.run("key", "create", "--name", "own", "--workspace", workspace["id"]))["key"])


@dataclass
class Customer:
    """A receiver of webhooks. taken: the types of events whose signature an independent verifier accepted."""

    url: str
    secret: str = ""
    taken: list[str] = field(default_factory=list)

    def take(self, headers: dict[str, str], body: bytes) -> int:
        Webhook(self.secret).verify(body, headers)
        self.taken.append(json.loads(body)["type"])
        return 204


@contextmanager
def customer() -> Iterator[Customer]:
    found = Customer("")
    with WebhookServer(0, found.take) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/"
        Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def install(venv: Path, what: str, folder: Path) -> None:
    """Have pip install a wheel, or one with extras, in the versions that are tested together."""
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    pip += ["-c", str(ROOT / "constraints.txt"), what]
    done = subprocess.run(pip, capture_output=True, text=True, env=os.environ, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def installation(interpreter: Interpreter, wheel: Path, directory: Path, engines: Path) -> Iterator[Installation]:
    """Install the wheel with `interpreter` below `directory`. engines: where an engine's files may be."""
    venv, folder = directory / "venv", directory / "empty"
    folder.mkdir()
    subprocess.run([interpreter.path, "-m", "venv", venv], check=True)
    install(venv, str(wheel), folder)
    with ExitStack() as stack:
        postgres = EmbeddedPostgres(engines / "postgres", durable=False)
        stack.callback(postgres.stop)
        redis = EmbeddedRedis(engines / "redis")
        stack.callback(redis.stop)
        env = {"DATABASE_URL": postgres.start(), "REDIS_URL": redis.start(), "SECRET_KEY": SECRET_KEY}
        env |= {"PORT": str(free_port()), "WEB_CONCURRENCY": "1", "ALLOW_SUBNETS": "127.0.0.0/8"}
        # Nothing of the environment that runs the tests: neither its programs nor its packages.
        env = environment(env | {"PATH": "/usr/bin:/bin"})
        made = Installation(venv, folder, postgres, redis, env)
        try:
            yield made
        finally:
            for process in made.started:
                process.kill()
                process.wait()
