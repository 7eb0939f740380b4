"""PostgreSQL is replaced, under writers and readers, by a replica that takes over or by a restored backup.

A product of the trial's own: what a replica had not received, or a backup does not hold, is lost for good, and the
usual books know nothing of that. Whoever reads must go on without a gap, or be told that events are lost.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
import requests

from app.database.connection import Database
from app.local.embedded import EmbeddedPostgres
from app.local.keys import make_keys
from tests.acceptance.another_server import BACKUP, REPLICA, Copied, Switch, promote
from tests.chaos.readers import ASK_SECONDS, RETRY_SECONDS, Consumer, Live, Pages, Place, Reader, broken, is_complete
from tests.chaos.stage import Deed, Effect, Stage, now
from tests.processes import ROOT, eventually, free_port, is_ready

KIND, STREAMS, WRITERS = "note", 6, 3
REST_SECONDS = 0.02  # between two events of a writer
FLOW_SECONDS = 1.5  # before the copy, after it, and at the new server
READY_SECONDS, SETTLE_SECONDS = 60.0, 40.0
REDIS_DATABASE = 5  # the product of the other scenarios has 0
PAGE = 250


class Writers:
    """Each posts one event after the other, until it is accepted. accepted: ids, with when (monotonic seconds)."""

    def __init__(self, base_url: str, headers: dict[str, str]) -> None:
        self.accepted: dict[str, float] = {}
        self._url, self._headers = f"{base_url}/v1/events", headers
        self._over = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def rest(self) -> None:
        """Post no more; returns when all that was begun is accepted."""
        self._over.set()
        for thread in self._threads:
            thread.join(SETTLE_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), "an event is not accepted"

    def _run(self) -> None:
        with requests.Session() as http:
            http.headers.update(self._headers)
            while not self._over.wait(REST_SECONDS):
                number = next(self._numbers)
                stream = {"kind": KIND, "id": f"s{number % STREAMS}"}
                self._post(http, number, {"stream": stream, "type": "note.added", "data": {"n": number}})

    def _post(self, http: requests.Session, number: int, body: Any) -> None:
        give_up_at = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < give_up_at:
            try:
                answer = http.post(self._url, json=body, headers={"Idempotency-Key": f"n{number}"}, timeout=ASK_SECONDS)
            except requests.RequestException:
                answer = None
            if answer is not None and answer.ok:
                self.accepted[answer.json()["id"]] = time.monotonic()
                return
            threading.Event().wait(RETRY_SECONDS)


def fail_over(signal_file: str) -> Deed:
    """REPLICA: it follows until its primary is killed. BACKUP: it knows nothing of what came after it was taken."""

    def deed(stage: Stage) -> Effect:
        effect = now()
        stage.traffic.rest()  # the usual product has nothing to do with it
        directory = Path(tempfile.mkdtemp(prefix="servers-", dir=stage.directory))
        directory.chmod(0o711)
        with ExitStack() as stack:
            primary = EmbeddedPostgres(directory / "primary", durable=False)
            stack.callback(primary.stop)
            primary.start()
            switch = Switch(primary.url)
            stack.callback(switch.close)
            base_url, headers = _start_web(stage, primary.url, switch.url, stack)
            with _reading(base_url, headers) as readers:
                writers = Writers(base_url, headers)
                stage.pass_time(FLOW_SECONDS)
                kept_until = _replace(stage, primary, switch, directory, signal_file, stack)
                replaced_at = time.monotonic()
                stage.pass_time(FLOW_SECONDS)
                writers.rest()
                final = _events(base_url, headers)
                surely = [id for id, at in writers.accepted.items() if at < kept_until or at > replaced_at]
                gone = [id for id in surely if id not in final]
                stage.faults += [f"{len(gone)} accepted events are not in the log: {gone[0]}"] if gone else []
                stage.faults += _lacking(readers, final)
        return effect

    return deed


def _start_web(stage: Stage, url: str, seen_url: str, stack: ExitStack) -> tuple[str, dict[str, str]]:
    """A web process over an empty, migrated database; its address, and headers with a key."""
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True, capture_output=True)
    database = Database(url)
    headers = {"Authorization": f"Bearer {make_keys(database).workspace_key}"}
    database.close()
    redis_url = urlsplit(stage.product.engine_urls["REDIS_URL"])._replace(path=f"/{REDIS_DATABASE}").geturl()
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    changed = {"DATABASE_URL": seen_url, "REDIS_URL": redis_url, "PORT": str(port), "PUBLIC_URL": base_url}
    web = stage.product.start_beside("web", changed, lambda line: line)
    stack.callback(web.kill_all)
    eventually(lambda: is_ready(base_url), READY_SECONDS, about=lambda: web.log_text()[-4000:])
    return base_url, headers


@contextmanager
def _reading(base_url: str, headers: dict[str, str]) -> Iterator[list[Reader]]:
    for number in range(STREAMS):
        _ask("PUT", f"{base_url}/v1/streams/{KIND}/s{number}", headers, json={})
    readers: list[Reader] = [Live(f"viewer of s{n}", base_url, headers, f"{KIND}/s{n}") for n in range(STREAMS)]
    readers += [Live("viewer of the feed", base_url, headers)]
    readers += [Pages("pages", base_url, headers), Consumer("consumer", base_url, headers)]
    for reader in readers:
        reader.start()
    try:
        yield readers
    finally:
        for reader in readers:
            reader.end()


def _replace(
    stage: Stage, primary: EmbeddedPostgres, switch: Switch, directory: Path, signal_file: str, stack: ExitStack
) -> float:
    """Kill the primary, let the other take its place; until when (monotonic seconds) everything must be there, too."""
    copy = Copied(directory / "copy", durable=False)
    stack.callback(copy.stop)
    kept_until = time.monotonic()
    copy.take(primary.url, signal_file, follow=signal_file == REPLICA)
    if signal_file == REPLICA:
        copy.start()
        kept_until = _followed(primary, copy)
    stage.pass_time(FLOW_SECONDS * stage.chance.random())
    assert primary.process is not None
    primary.process.kill()
    primary.process.wait()
    if signal_file == BACKUP:
        copy.start()
    promote(copy)
    switch.lead_to(copy.url)
    return kept_until


def _followed(primary: EmbeddedPostgres, copy: EmbeddedPostgres) -> float:
    """Wait until the replica has all that the primary has by now; when that was."""
    kept_until = time.monotonic()
    with (
        psycopg.connect(primary.url, autocommit=True) as one,
        psycopg.connect(copy.url, autocommit=True) as other,
    ):
        found = one.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        ask = "SELECT coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, false)"
        eventually(lambda: other.execute(ask, found).fetchone() == (True,), SETTLE_SECONDS, about="the replica follows")
    return kept_until


def _ask(method: str, url: str, headers: dict[str, str], **options: Any) -> requests.Response:
    """A good answer; a 503 says that one asks again, and is what a server that has just been replaced may say."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while True:
        answer = requests.request(method, url, headers=headers, timeout=ASK_SECONDS, **options)
        if answer.status_code != 503 or time.monotonic() > give_up_at:
            assert answer.ok, answer.text[:300]
            return answer
        time.sleep(RETRY_SECONDS)


def _events(base_url: str, headers: dict[str, str]) -> dict[str, Place]:
    """All that the server has, by the log of each stream."""
    found: dict[str, Place] = {}
    for stream in (f"s{number}" for number in range(STREAMS)):
        last = 0
        while True:
            query = f"stream_kind={KIND}&stream_id={stream}&limit={PAGE}&after_seq={last}"
            page = _ask("GET", f"{base_url}/v1/events?{query}", headers).json()["data"]
            if not page:
                break
            found |= {event["id"]: (stream, event["seq"]) for event in page}
            last = page[-1]["seq"]
    return found


def _lacking(readers: list[Reader], final: dict[str, Place]) -> list[str]:
    """Wait until every reader has been shown everything; what is wrong then, in words."""

    def wanted(reader: Reader) -> dict[str, Place]:
        return {id: place for id, place in final.items() if not reader.stream or reader.stream == f"{KIND}/{place[0]}"}

    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline and not all(is_complete(one.shown, wanted(one)) for one in readers):
        threading.Event().wait(RETRY_SECONDS)
    found = [reader.fault for reader in readers if reader.fault]
    for reader in readers:
        shown = list(reader.shown)
        found += [f"{reader.name}: {words}" for words in broken(shown, wanted(reader), is_kept=reader.is_kept)]
    return found
