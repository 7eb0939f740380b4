"""What most teams write: see bench/plain."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import sys

from bench import requests_sent
from bench.contenders.contender import Contender
from bench.place import ROOT
from bench.programs import BenchError, post
from bench.stand import Engines, Running, environment, sql

# Processes of Celery's pool: CPU, not waiting for receivers, is to be its limit.
WORKER_PROCESSES = 8


class Plain(Contender):
    """Web and worker."""

    name = "plain"

    def __init__(self, engines: Engines, *, name: str = "plain", redis_database: int = 7, **settings: str) -> None:
        super().__init__(engines)
        self._database_url = engines.new_database(f"bench_{name}")
        redis_url = f"{engines.redis.url.rpartition('/')[0]}/{redis_database}"
        settings = {"DATABASE_URL": self._database_url, "REDIS_URL": redis_url, **settings}
        env = environment({**settings, "PORT": str(self.port), "PYTHONPATH": str(ROOT)})
        make = "from bench.plain.tables import Table, engine; Table.metadata.create_all(engine)"
        done = subprocess.run([sys.executable, "-c", make], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(done.stderr)
        web = ["gunicorn", "-c", str(ROOT / "bench/gunicorn_settings.py"), "bench.plain.web:app"]
        worker = ["celery", "-A", "bench.plain.tasks", "worker", "--pool", "prefork"]
        worker += [
            "--concurrency",
            str(WORKER_PROCESSES),
            "--without-gossip",
            "--without-mingle",
            "--loglevel",
            "ERROR",
        ]
        self.processes["web"] = Running("plain web", web, env, engines.directory / f"{name}-web.log")
        self.processes["worker"] = Running("plain worker", worker, env, engines.directory / f"{name}-worker.log")
        self.processes["web"].wait_for(f"{self.base_url}/healthz")
        self.fresh()

    def fresh(self) -> None:
        """A workspace and its key."""
        self.key, workspace = secrets.token_urlsafe(24), secrets.token_hex(6)
        digest = hashlib.sha256(self.key.encode()).hexdigest()
        sql(self._database_url, "INSERT INTO api_keys (hash, workspace) VALUES (%s, %s)", (digest, workspace))

    def publish(self, count: int, streams: int, number: int) -> None:
        """One request an event: it takes no batches."""
        post(self.port, requests_sent.post_event(self.key), connections=16, count=count, streams=streams, number=number)

    def a_delivery(self) -> str:
        """The path of one that exists."""
        [(found,)] = sql(self._database_url, "SELECT max(id) FROM deliveries")
        return f"/v1/deliveries/{found}"
