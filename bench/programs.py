"""The load programs (bench/load/*.c): compiled once, driven through their standard input and output."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.place import ROOT, VAR

SOURCES = ROOT / "bench" / "load"
ANSWER_SECONDS = 120.0
POLL_SECONDS = 0.05  # each look costs the receiver a little


class BenchError(Exception):
    """A measurement cannot be made; the message says why."""


def compiled(name: str) -> Path:
    """The program's path; compiled when its source has changed. Raises BenchError without a compiler."""
    text = (SOURCES / "wire.h").read_bytes() + (SOURCES / f"{name}.c").read_bytes()
    program = VAR / "programs" / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}"
    if program.exists():
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BenchError("The load programs need a C compiler: apt-get install gcc libc6-dev")
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-Wall", "-o", str(fresh), str(SOURCES / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}:\n{done.stderr}")
    fresh.replace(program)
    return program


def post(port: int, request: bytes, **options: float) -> dict[str, Any]:
    """Send requests; returns what bench/load/post.c prints.

    request: the template. options: connections, seconds, rate (an open loop) or none (a closed one), count, streams,
    number (of the first event), patience (seconds for the last answers).
    """
    with Posting(port, request, **options) as posting:
        return posting.result()


class Posting:
    """The same while something else is done."""

    def __init__(self, port: int, request: bytes, **options: float) -> None:
        self._file = _template(request)
        self._patience = options.get("seconds", 0) + options.get("patience", 30) + ANSWER_SECONDS
        if "count" in options:
            self._patience += 24 * 3600
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [compiled("post"), "--port", str(port), "--request", self._file.name, *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def result(self) -> dict[str, Any]:
        """What it prints at its end."""
        output, _ = self._process.communicate(timeout=self._patience)
        if self._process.returncode:
            raise BenchError(f"post ended with {self._process.returncode}")
        return dict(json.loads(output))

    def __enter__(self) -> Posting:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._file.close()


class _Talking:
    """A program that answers lines with lines of JSON."""

    def __init__(self, name: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [compiled(name), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self._process.pid

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"a load program ended with {self._process.wait()}")
        return dict(json.loads(line))

    def _ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        return self._line()

    def report(self) -> dict[str, Any]:
        """What was counted since the last report; starts over."""
        return self._ask("report")

    def look(self) -> dict[str, Any]:
        """The same without starting over."""
        return self._ask("look")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Receiver(_Talking):
    """Where webhooks go (bench/load/receive.c)."""

    def __init__(self, slow_ms: int = 100) -> None:
        super().__init__("receive", "--slow-ms", str(slow_ms))
        self.port = int(self._line()["port"])

    def url(self, behaviour: str, label: int) -> str:
        """behaviour: ok, slow, fail, hang or lane (bench/load/receive.c)."""
        return f"http://127.0.0.1:{self.port}/{behaviour}/{label}"

    def hang(self, label: int) -> None:
        """From now on /ok/LABEL is never answered."""
        self._ask(f"hang {label}")

    def serve(self, label: int) -> None:
        """/ok/LABEL is answered again."""
        self._ask(f"serve {label}")

    def wait_for(self, label: int, count: int, seconds: float, figure: str = "distinct") -> None:
        """Returns when so many have arrived; raises BenchError when that takes longer."""
        found = {"seen": 0}

        def all_there() -> bool:
            found["seen"] = self.look()["labels"].get(str(label), {}).get(figure, 0)
            return found["seen"] >= count

        if not waited(all_there, seconds):
            raise BenchError(f"{found['seen']} of {count} webhooks arrived within {seconds:.0f} s")


class Viewers(_Talking):
    """Viewers of live streams (bench/load/watch.c); made when all are connected."""

    def __init__(self, port: int, request: bytes, connections: int, **options: int) -> None:
        self._file = _template(request)
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        super().__init__(
            "watch", "--port", str(port), "--request", self._file.name, "--connections", str(connections), *words
        )
        self.opened = self._line()
        if self.opened["refused"]:
            self.close()
            told = f"{self.opened['refused']} of {connections} viewers were refused ({self.opened['bad_status']})"
            raise BenchError(told)

    def wait_for(self, figure: str, count: int, seconds: float) -> bool:
        """Whether a figure (frames, reached) came so far within some seconds."""
        return waited(lambda: self.look()[figure] >= count, seconds)

    def close(self) -> None:
        """End it."""
        super().close()
        self._file.close()


def waited(look: Callable[[], bool], seconds: float, poll_seconds: float = POLL_SECONDS) -> bool:
    """Whether `look` became true within some seconds."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True


def _template(request: bytes) -> Any:
    file = tempfile.NamedTemporaryFile(prefix="twofold-bench-")  # noqa: SIM115  # closed with its user
    file.write(request)
    file.flush()
    return file
