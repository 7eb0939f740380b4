"""Bare Flask routes under gunicorn: the measure B."""

from __future__ import annotations

from bench.contenders.contender import Contender
from bench.place import ROOT
from bench.stand import Engines, Running, environment


class Bare(Contender):
    """See bench/bare."""

    name = "bare"

    def __init__(self, engines: Engines) -> None:
        super().__init__(engines)
        env = environment({"PORT": str(self.port), "PYTHONPATH": str(ROOT)})
        command = ["gunicorn", "-c", str(ROOT / "bench/gunicorn_settings.py"), "bench.bare.application:app"]
        self.processes["web"] = Running("bare", command, env, engines.directory / "bare.log")
        self.processes["web"].wait_for(f"{self.base_url}/healthz")

    def kinds(self) -> dict[str, list[int]]:
        """It uses no engine."""
        return {"web": [self.processes["web"].pid]}
