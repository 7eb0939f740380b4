"""A second web process and a second worker, each in a network namespace of its own, that are cut off for a while.

A namespace has one cable to this machine. Through it its process reaches PostgreSQL and Redis by relays at this end,
and a relay at its own end brings what it sends to 127.0.0.1 to the customers here. The cable is cut as a network fails:
nothing is refused, and nothing arrives.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.chaos.engines import RELAY
from tests.chaos.product import Product
from tests.chaos.stage import Effect, Stage, now
from tests.processes import RunningProcess, environment, eventually, free_port, is_ready, workers_that_wait

TOGETHER_SECONDS = 4.0
CUT_SECONDS = 12.0  # longer than a lease and than a connection is waited for
START_SECONDS = 40.0
STOP_SECONDS = 40.0
PREFIX = "twofold-"


def why_impossible() -> str:
    """Why there can be no network namespaces here, "" when there can."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        return "network namespaces take root and `ip` (iproute2)"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        return "network namespaces are forbidden here"
    return ""


def cut_off(stage: Stage) -> Effect:
    """Producers post to both web processes and both workers deliver; then one of each reaches nobody, and nobody it."""
    product, traffic = stage.product, stage.traffic
    remove_left_over()
    with ExitStack() as stack:
        web_space = stack.enter_context(namespace(stage.directory, 0))
        worker_space = stack.enter_context(namespace(stage.directory, 1))
        web, base_url = _start_web(product, web_space, stack)
        worker = _start_worker(product, worker_space, stack, traffic.receivers.port)
        eventually(lambda: is_ready(base_url), START_SECONDS, about=lambda: web.log_text()[-4000:])
        redis_url = product.engine_urls["REDIS_URL"]
        eventually(lambda: workers_that_wait(redis_url) >= 2, START_SECONDS, about=lambda: worker.log_text()[-4000:])
        traffic.base_urls.append(base_url)
        for tenant in traffic.tenants:
            traffic.watch(tenant, tenant.streams[0], base_url, f"cut off {tenant.streams[0][1]}")
        stage.pass_time(TOGETHER_SECONDS)
        for space in (web_space, worker_space):
            space.cut()
        stage.pass_time(CUT_SECONDS)
        for space in (web_space, worker_space):
            space.mend()
        effect = now()
        stage.pass_time(TOGETHER_SECONDS)
        traffic.base_urls.remove(base_url)
        traffic.come_home(base_url)
        for process in (web, worker):
            assert process.status is None, f"the {process.name} has ended by itself"
            process.send_signal(signal.SIGTERM)
        eventually(lambda: None not in (web.status, worker.status), STOP_SECONDS, about="those that were cut off end")
    return effect


class Namespace:
    """One, with its cable. here, there: the addresses of its ends."""

    def __init__(self, directory: Path, number: int) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{number}"
        self._cable = f"tf{os.getpid() % 10**7}h{number}"
        block = os.getpid() % 2**12 * 16 + number * 4  # of 10.224.0.0/12
        self.here, self.there = (f"10.{224 + (block >> 16)}.{block >> 8 & 255}.{block & 255 | end}" for end in (1, 2))
        self._directory = directory
        self._relays: list[RunningProcess] = []

    def make(self) -> None:
        """Raises CalledProcessError."""
        inner = f"{self._cable}n"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", inner, "netns", self.name)
        _ip("addr", "add", f"{self.here}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        _ip("-n", self.name, "addr", "add", f"{self.there}/30", "dev", inner)
        for device in ("lo", inner):
            _ip("-n", self.name, "link", "set", device, "up")

    def relay(self, listen: str, target: str, *, inside: bool = False) -> None:
        """Carry connections from one `address:port` to another."""
        line = f"{sys.executable} {RELAY} {listen} {target}"
        log = self._directory / f"relay-{self.name}.log"
        self._relays.append(RunningProcess("relay", self.line(line) if inside else line, environment({}), log))

    def line(self, line: str) -> str:
        """A command line, to be run inside."""
        return f"ip netns exec {self.name} {line}"

    def cut(self) -> None:
        """Nothing passes the cable."""
        _ip("link", "set", self._cable, "down")

    def mend(self) -> None:
        """Everything does again."""
        _ip("link", "set", self._cable, "up")

    def remove(self) -> None:
        """End the relays; the cable goes with the namespace."""
        for relay in self._relays:
            relay.kill_all()
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)


@contextmanager
def namespace(directory: Path, number: int) -> Iterator[Namespace]:
    """A namespace, removed at the end."""
    made = Namespace(directory, number)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def remove_left_over() -> None:
    """Remove the namespaces of runs that were killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        name = line.partition(" ")[0]
        with suppress(ValueError, IndexError):
            if name.startswith(PREFIX) and not psutil.pid_exists(int(name.split("-")[1])):
                subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _start_web(product: Product, space: Namespace, stack: ExitStack) -> tuple[RunningProcess, str]:
    """Returns the process, and where it is reached from here."""
    port, own_port = free_port(), 8000
    base_url = f"http://127.0.0.1:{port}"
    changed = {**_engines(product, space, "web"), "HOST": space.there, "PORT": str(own_port), "PUBLIC_URL": base_url}
    web = product.start_beside("web", changed, space.line)
    stack.callback(web.kill_all)
    space.relay(f"127.0.0.1:{port}", f"{space.there}:{own_port}")
    return web, base_url


def _start_worker(product: Product, space: Namespace, stack: ExitStack, customers_port: int) -> RunningProcess:
    # Two machines have two names, by which Celery knows workers.
    worker = product.start_beside(
        "worker", _engines(product, space, "worker"), lambda line: space.line(f"{line} -n far@%h")
    )
    stack.callback(worker.kill_all)
    space.relay(f"{space.here}:{customers_port}", f"127.0.0.1:{customers_port}")
    space.relay(f"127.0.0.1:{customers_port}", f"{space.here}:{customers_port}", inside=True)
    return worker


def _engines(product: Product, space: Namespace, process: str) -> Mapping[str, str]:
    """PostgreSQL and Redis as this process reaches them: by relays at our end of the cable."""
    found = {}
    for name, url in product.engine_urls.items():
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        space.relay(f"{space.here}:{parts.port}", f"127.0.0.1:{parts.port}")
        found[name] = parts._replace(netloc=f"{login}@{space.here}:{parts.port}".lstrip("@")).geturl()
    return found


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
