"""The words that all contenders have in common."""

from __future__ import annotations

from typing import Any

import requests

from bench import requests_sent
from bench.programs import BenchError
from bench.stand import Engines, Running, free_port


class Contender:
    """A server that takes events on /v1/events. Subclasses start it."""

    name = ""

    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        self.port = free_port()
        self.key = ""
        self.processes: dict[str, Running] = {}

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def kinds(self) -> dict[str, list[int]]:
        """Its processes and the engines', by kind: the roots of their trees."""
        return {name: [process.pid] for name, process in self.processes.items()} | self.engines.kinds()

    def ask(self, method: str, path: str, body: Any = None, key: str = "", workspace: str = "") -> dict[str, Any]:
        """One request; raises BenchError unless the answer is good. workspace: for a platform key."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        headers |= {"X-Workspace": workspace} if workspace else {}
        answer = requests.request(method, self.base_url + path, json=body, headers=headers, timeout=60)
        if not answer.ok:
            raise BenchError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return dict(answer.json()) if answer.content else {}

    def register(self, url: str, **options: Any) -> str:
        """An endpoint; its id."""
        return str(self.ask("POST", "/v1/endpoints", {"url": url, **options})["id"])

    def publish(self, count: int, streams: int, number: int) -> None:
        """Put events in, as fast as it likes. Raises BenchError where loads do not ask for that."""
        raise BenchError(f"{self.name} takes no events from outside a load")

    def a_delivery(self) -> str:
        """The path of a delivery that exists. Raises BenchError where there are none."""
        raise BenchError(f"{self.name} has no deliveries")

    def written(self) -> int | None:
        """Bytes of write-ahead log that PostgreSQL has written so far; None where there is no PostgreSQL."""
        return None

    def live_path(self, stream: str = "s@STREAM@") -> str:
        """Where a stream can be watched."""
        return f"/v1/streams/{requests_sent.KIND}/{stream}/live"

    def fresh(self) -> None:
        """A place of its own for the next load: no endpoint, no stream."""

    def stop(self) -> None:
        """End its processes."""
        for process in reversed(list(self.processes.values())):
            process.stop()
        self.processes.clear()
