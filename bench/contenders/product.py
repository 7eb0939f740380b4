"""Twofold as its Procfile says, from any tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench import requests_sent
from bench.contenders.contender import Contender
from bench.place import ROOT
from bench.programs import BenchError, post
from bench.round_trips import Relay
from bench.stand import Engines, Running, environment, sql

BATCH = 500
SETTINGS = {
    "SECRET_KEY": "0123456789abcdef" * 4,
    "ALLOW_SUBNETS": "127.0.0.0/8",
    # The loads are larger than one customer may be.
    "MAX_OPEN_STREAMS": "1000000",
    "MAX_ENDPOINTS": "10000",
    "MAX_SUBSCRIBERS": "12000",
    "MAX_SUBSCRIBERS_PER_WORKSPACE": "12000",
    "MAX_SUBSCRIBERS_PER_KEY": "12000",
}


def lines_of(procfile: str) -> dict[str, str]:
    """The processes of a Procfile."""
    pairs = (line.partition(":") for line in procfile.splitlines() if ":" in line and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in pairs}


class Product(Contender):
    """Web, worker and beat of the tree in TREE, else of this one."""

    name = "twofold"

    def __init__(
        self,
        engines: Engines,
        tree: Path = ROOT,
        *,
        name: str = "twofold",
        redis_database: int = 0,
        relayed: bool = False,
        **settings: str,
    ) -> None:
        super().__init__(engines)
        self.tree, self._name = tree, name
        self.redis_url = f"{engines.redis.url.rpartition('/')[0]}/{redis_database}"
        self.database_url = engines.new_database(f"bench_{name}")
        self.relay = Relay(self.database_url) if relayed else None
        programs = tree / ".venv" / "bin"
        self._programs = programs if (programs / "gunicorn").exists() else Path(sys.executable).parent
        places = {"PORT": str(self.port), "PUBLIC_URL": self.base_url, "PYTHONPATH": str(tree)}
        seen_url = self.relay.url if self.relay else self.database_url
        engines_urls = {"DATABASE_URL": seen_url, "REDIS_URL": self.redis_url}
        self._env = environment({**SETTINGS, **engines_urls, **places, **settings}, self._programs)
        self._lines = lines_of((tree / "Procfile").read_text())
        self._do("/bin/sh", "-c", f"exec {self._lines['release']}")
        made = self._do(str(self._programs / "python"), "-m", "app.cli", "key", "create", "--name", "bench")
        self.platform_key = str(json.loads(made)["key"])
        for kind in ("web", "worker", "beat"):
            self.start(kind)
        self.fresh()

    def start(self, kind: str) -> None:
        """Start one kind of process; returns when it can be used."""
        command = ["/bin/sh", "-c", f"exec {self._lines[kind]}"]
        log = self.engines.directory / f"{self._name}-{kind}.log"
        self.processes[kind] = Running(kind, command, self._env, log, self.tree)
        if kind == "web":
            self.processes[kind].wait_for(f"{self.base_url}/readyz")

    def stop_kind(self, kind: str) -> None:
        """End one kind of process."""
        self.processes.pop(kind).stop()

    def stop(self) -> None:
        """End its processes, and the relay if there is one."""
        super().stop()
        if self.relay:
            self.relay.close()

    def fresh(self) -> None:
        """Go on in a new workspace: nothing is published in the last load's any more."""
        self.key = self.workspace()

    def workspace(self) -> str:
        """A new workspace's key."""
        names = {"name": "bench", "uid": f"bench-{os.urandom(6).hex()}"}
        made = self.ask("POST", "/v1/workspaces", names, self.platform_key)
        self.workspace_id = str(made["id"])
        body = {"name": "bench", "scopes": ["publish", "subscribe", "manage", "operate"]}
        return str(self.ask("POST", "/v1/keys", body, self.platform_key, workspace=str(made["id"]))["key"])

    def publish(self, count: int, streams: int, number: int) -> None:
        """In batches of 500."""
        requests = max(1, count // BATCH)
        body = requests_sent.post_lines(self.key, min(BATCH, count))
        answer = post(self.port, body, connections=4, count=requests, streams=streams, number=number, patience=60)
        if answer["status"][2] != requests:
            raise BenchError(f"events were refused: {answer['status']} ({answer['bad_status']})")

    def a_delivery(self) -> str:
        """The path of one that exists."""
        return f"/v1/deliveries/{self.ask('GET', '/v1/deliveries?limit=1')['data'][0]['id']}"

    def log_statements(self, on: bool) -> None:
        """Let PostgreSQL log every statement, or no more."""
        for statement in (
            f"ALTER SYSTEM SET log_statement = '{'all' if on else 'none'}'",
            "ALTER SYSTEM SET log_line_prefix = '@@%d@%a@ '",
            "SELECT pg_reload_conf()",
        ):
            sql(self.database_url, statement)

    def written(self) -> int | None:
        """Of all databases: nobody else writes meanwhile."""
        return int(sql(self.database_url, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")[0][0])

    @property
    def postgres_log(self) -> Path:
        """What PostgreSQL prints."""
        return self.engines.postgres.directory / "server.log"

    def _do(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.tree, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
        return done.stdout
