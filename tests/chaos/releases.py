"""Old and new release side by side: an older web process and worker beside this one's, on one database and Redis."""

from __future__ import annotations

import signal

from bench import revisions
from bench.programs import BenchError
from bench.revisions import unpack
from tests.chaos.stage import Effect, Stage, now
from tests.processes import eventually, handles, is_ready

START_SECONDS = 30.0
TOGETHER_SECONDS = 5.0
STOP_SECONDS = 40.0  # gunicorn closes streams in waves; a worker ends what it has in flight


def default_release() -> str:
    """The oldest revision that has today's tables, "" where git does not know: an upgrade begins with the tables, so
    an older one than that never runs beside this one."""
    return git("log", "-1", "--format=%h", "--", "migrations").decode().strip()


def revision() -> str:
    """The one that is checked out."""
    return git("rev-parse", "--short", "HEAD").decode().strip() or "unknown"


def side_by_side(stage: Stage) -> Effect:
    """Producers post to both, viewers of the old one see what the new one has accepted, and both workers deliver; then
    the old one goes."""
    web, worker, base_url = stage.product.start_release(unpack(stage.release, stage.directory / "release"))
    eventually(lambda: is_ready(base_url), START_SECONDS, about=lambda: f"old web is ready\n{web.log_text()[-4000:]}")
    # Celery takes over its signals when it is set up, right before it looks for messages.
    eventually(lambda: handles(worker.pid, signal.SIGTERM), START_SECONDS, about=lambda: worker.log_text()[-4000:])
    stage.traffic.base_urls.append(base_url)
    for tenant in stage.traffic.tenants:
        stage.traffic.watch(tenant, tenant.streams[0], base_url, f"old release {tenant.streams[0][1]}")
    effect = now()
    stage.pass_time(TOGETHER_SECONDS)
    stage.traffic.base_urls.remove(base_url)
    stage.traffic.come_home(base_url)
    for process in (web, worker):
        assert process.status is None, f"the {process.name} has ended by itself"
        process.send_signal(signal.SIGTERM)
    eventually(lambda: None not in (web.status, worker.status), STOP_SECONDS, about="the old release ends")
    return effect


def git(*arguments: str) -> bytes:
    """What a git command prints here, b"" where there is no git or no repository."""
    try:
        return revisions.git(*arguments)
    except BenchError:
        return b""
