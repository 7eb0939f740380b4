"""Failpoints kill the process that asked for it, where it asked for it, and no other; production refuses them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app import failpoints
from app.settings import Settings, SettingsError
from tests.conftest import SECRET_KEY
from tests.cpu_time import costs_less
from tests.processes import ROOT, environment, eventually

PASSES = "from app import failpoints\nfor _ in range(5): failpoints.reach('drain.claimed'); print('passed', flush=True)"
ENVIRON = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/no",
    "REDIS_URL": "redis://127.0.0.1:1",
    "SECRET_KEY": SECRET_KEY,
}


def run(text: str, **environ: str) -> tuple[int, int]:
    """How a process ended that passes a failpoint five times, and how often it did."""
    env = environment({failpoints.VARIABLE: text, **environ})
    done = subprocess.run(
        [sys.executable, "-c", PASSES], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.count("passed")


@pytest.mark.parametrize("allowed", failpoints.ALLOWED_BY)
def test_a_process_kills_itself_at_the_pass_that_was_named(allowed: str) -> None:
    assert run("drain.claimed:kill@3", **{allowed: "1"}) == (-signal.SIGKILL, 2)


def test_nothing_happens_without_the_permission_or_at_another_place() -> None:
    assert run("drain.claimed:kill@3") == (0, 5)
    assert run("drain.answered:kill@1", **{failpoints.ALLOWED_BY[0]: "1"}) == (0, 5)


def test_one_process_acts_for_each_file(tmp_path: Path) -> None:
    file, allowed = tmp_path / "now", {failpoints.ALLOWED_BY[0]: "1"}
    assert run(f"drain.claimed:kill@{file}", **allowed) == (0, 5)
    file.touch()
    assert run(f"drain.claimed:kill@{file}", **allowed) == (-signal.SIGKILL, 0)
    assert not file.exists()
    assert run(f"drain.claimed:kill@{file}", **allowed) == (0, 5)


def test_a_stopped_process_goes_on_when_it_is_told_to() -> None:
    env = environment({failpoints.VARIABLE: "drain.claimed:stop@1", failpoints.ALLOWED_BY[0]: "1"})
    with subprocess.Popen([sys.executable, "-c", PASSES], cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("drain.claimed:kill", "has 'drain.claimed:kill'; write point:kill@3 or point:stop@/path/of/a/file"),
        ("drain.claimed:kill@0", "has 'drain.claimed:kill@0'; write"),
        ("drain.claimed:burn@1", "has 'drain.claimed:burn@1'; write"),
        ("drain.claimed:kill@3,drain.full:kill@1", "has no point 'drain.full'; there are ledger.commit, "),
    ],
)
def test_what_cannot_be_read_is_told(text: str, complaint: str) -> None:
    (found,) = failpoints.complaints({failpoints.VARIABLE: text, failpoints.ALLOWED_BY[0]: "1"})
    assert found.startswith(f"TWOFOLD_FAILPOINTS {complaint}")


def test_a_process_with_failpoints_does_not_start_in_production() -> None:
    environ = {**ENVIRON, failpoints.VARIABLE: "drain.claimed:kill@3"}
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(environ)
    assert str(refused.value) == (
        "Twofold cannot start:\n  - TWOFOLD_FAILPOINTS kills processes on purpose: unset it,"
        " or set TWOFOLD_ALLOW_FAILPOINTS=1 where that is a test"
    )
    Settings.from_env({**environ, "TWOFOLD_ALLOW_FAILPOINTS": "1"})
    Settings.from_env({**ENVIRON, failpoints.VARIABLE: ""})


def test_a_worker_says_why_it_does_not_start() -> None:
    env = environment({**ENVIRON, failpoints.VARIABLE: "drain.claimed:kill@3"})
    command = [sys.executable, "-m", "celery", "-A", "workers", "report"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "TWOFOLD_FAILPOINTS kills processes on purpose" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_failpoint_is_at_one_place_in_the_code() -> None:
    texts = [path.read_text() for folder in ("app", "workers") for path in (ROOT / folder).rglob("*.py")]
    reached = [name for text in texts for name in re.findall(r'failpoints\.reach\("([a-z.]+)"\)', text)]
    assert sorted(reached) == sorted(failpoints.POINTS)


def test_a_failpoint_that_is_off_costs_nothing_to_speak_of() -> None:
    assert failpoints.VARIABLE not in os.environ
    failpoints.reach("drain.claimed")

    def reach() -> None:
        for _ in range(10_000):
            failpoints.reach("drain.claimed")

    # 0.1 µs each on a quiet machine; a group commit and a round of a drain take milliseconds.
    assert costs_less(reach, 10_000 * 5e-6)
