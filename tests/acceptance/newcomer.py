"""The newcomer's path, timed: a fresh clone, `make run`, and README's five minutes in their order, as they are written.

    python -m tests.acceptance.newcomer [--venv FOLDER]

It clones this checkout's last commit into a new folder, which is removed at the end, and types what README says, up to
the first verified webhook at a receiver and the first live event in a page of Chromium. It prints what was done after
how many seconds, without the time in which a person reads. It ends with status 1 when something does not come, or comes
too late. PORT names the product's port where 8000 is taken; --venv takes installed packages, to try the script itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.acceptance.readme import blocks
from tests.browser.chromium import Chromium
from tests.processes import ROOT, eventually, free_port

INSTALL_SECONDS, SECONDS = 600.0, 60.0
BAR_SECONDS = 300.0
NOT_OURS = {"PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "DATABASE_URL", "REDIS_URL", "TWOFOLD_VAR"}


class Typed:
    """What is typed in a clone. begun: monotonic seconds."""

    def __init__(self, clone: Path, port: str) -> None:
        self.clone, self.port = clone, port
        self.receiver_port = str(free_port())
        self.begun = time.monotonic()
        self.env = {name: value for name, value in os.environ.items() if name not in NOT_OURS} | {"PORT": port}
        self.lines: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.lines.append((time.monotonic() - self.begun, what))
        print(f"{self.lines[-1][0]:7.1f} s  {what}", flush=True)

    def shell(self, text: str) -> list[str]:
        """README's first block and this one, for other ports."""
        written = (blocks()[0] + text).replace("http://127.0.0.1:8000", f"http://127.0.0.1:{self.port}")
        return ["/bin/bash", "-euc", written.replace("9000", self.receiver_port)]

    def run(self, text: str) -> str:
        """What a block prints."""
        done = subprocess.run(
            self.shell(text), cwd=self.clone, env=self.env, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def terminal(self, command: list[str], output: Path) -> Iterator[Callable[[], str]]:
        """A command in a terminal of its own, until the end; what it has printed so far. It ends by Ctrl-C."""
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["env", "--default-signal=INT", *command],
                cwd=self.clone,
                env=self.env,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            yield lambda: output.read_text(errors="replace")
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def walk(folder: Path, venv: Path | None) -> float:
    """Seconds until webhook and live event have come. Raises AssertionError when something does not."""
    clone = folder / "twofold"
    path = Typed(clone, os.environ.get("PORT") or "8000")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    path.note("git clone")
    if venv is not None:
        (clone / ".venv").symlink_to(venv)
    make = ["make", "run"] if venv is None else ["make", "--old-file=.venv/.installed", "run"]
    with ExitStack() as stack:
        printed = stack.enter_context(path.terminal(make, folder / "run.log"))
        eventually((clone / ".venv/.installed").exists, INSTALL_SECONDS, about=printed)
        path.note("make run: packages installed")
        eventually((clone / "var/dev.json").exists, INSTALL_SECONDS, about=printed)
        path.note(f"make run: serves http://127.0.0.1:{path.port}")
        _, listen, register, watch, page, post, log, end = blocks()
        heard = stack.enter_context(path.terminal(path.shell(listen), folder / "heard.log"))
        eventually(lambda: "Listening" in heard(), SECONDS, about=heard)
        path.note("twofold listen: listens")
        endpoint = json.loads(path.run(register))
        path.note(f"webhook registered: {endpoint['id']}")
        create, follow = watch.strip().split("\n")
        path.run(create)
        seen = stack.enter_context(path.terminal(path.shell(follow), folder / "seen.log"))
        address = path.run(page).strip()
        browser = Chromium(folder / "profile")
        stack.callback(browser.close)
        shown = browser.page(address)
        shown.wait_for("document.getElementById('state').dataset.state === 'live'", SECONDS)
        path.note(f"page open: {re.sub('token=.*', 'token=…', address)}")
        path.run(post)
        path.note("event posted")
        eventually(lambda: ": verified" in heard(), SECONDS, about=heard)
        path.note("webhook received: verified")
        eventually(lambda: "\ndata: " in seen(), SECONDS, about=seen)
        path.note("live event: curl shows it")
        shown.wait_for("document.body.innerText.includes('call.barge_in')", SECONDS)
        path.note("live event: the page shows it")
        seconds = path.lines[-1][0]
        assert '"status":"delivered"' in path.run(log).replace(": ", ":")
        path.run(end)
        path.note("delivery log read, stream ended")
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--venv", type=Path, help="installed packages, instead of installing them")
    venv = parser.parse_args().venv
    folder = Path(tempfile.mkdtemp(prefix="twofold-newcomer-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    try:
        seconds = walk(folder, venv)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{seconds:.0f} s from git clone to a verified webhook and a live event; the bar is {BAR_SECONDS:.0f} s")
    return 0 if seconds < BAR_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
