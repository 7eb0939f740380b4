"""Loads of the feed: a long trial in which much goes wrong, and what reading it costs those who accept."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
import psycopg

from app.client.parse import EventParser
from bench import histogram, requests_sent
from bench.contenders.product import Product
from bench.histogram import Pairs
from bench.programs import BenchError, Posting, Viewers, post
from bench.stage import Result, Stage
from bench.stand import Engines, sql
from bench.ticking import ticking_process

Sizes = Mapping[str, float]
WRITERS, STREAMS, READERS = 8, 40, 3
SETTLE_SECONDS = 30.0
CUT_SECONDS = 0.02  # before a reader that was cut comes back
SILENCE_SECONDS = 20.0  # after which a reader comes back anyway
LOOK_SECONDS = 0.1
SLICES = 4  # of each kind, taking turns
CROWD = 64

# Every 50th commit takes up to 200 ms: its transaction has its place in the feed, and is not there yet.
SLEEPING = """
CREATE FUNCTION commit_slowly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep(random() * 0.2);
  RETURN NULL;
END
$$
"""
SLOW_COMMITS = """
CREATE CONSTRAINT TRIGGER slow_commits AFTER UPDATE OF last_seq ON streams DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.last_seq % 50 = 0) EXECUTE FUNCTION commit_slowly()
"""

# What is stored, and when each was committed (seconds since 1970).
STORED = """
SELECT id, stream_id, seq, extract(epoch FROM pg_xact_commit_timestamp(xid::xid))::float8 FROM events
WHERE workspace_id = %s
"""


@dataclass(frozen=True)
class Seen:
    """An event that a reader was shown, and when (seconds since 1970)."""

    id: str
    stream: str
    seq: int
    at: float


class FeedReader(threading.Thread):
    """Follows the feed of a workspace, and comes back at once after each cut. seen: in the order in which it came;
    resets: how often it was told that events are lost."""

    def __init__(self, product: Product) -> None:
        super().__init__(daemon=True)
        self.seen: list[Seen] = []
        self.cuts = self.resets = 0
        self.opened = threading.Event()
        since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._path = f"/v1/feed/live?after={since}"
        self._headers = {"Authorization": f"Bearer {product.key}", "Accept": "text/event-stream"}
        self._port = product.port
        self._parser = EventParser()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            with suppress(OSError, http.client.HTTPException):
                self._follow()
            self.cuts += 1
            self._over.wait(CUT_SECONDS)

    def end(self) -> None:
        """Read no more."""
        self._over.set()

    def _follow(self) -> None:
        last = self._parser.last_event_id
        self._parser = EventParser(last)
        headers = self._headers | ({"Last-Event-ID": last} if last else {})
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=SILENCE_SECONDS)) as connection:
            connection.request("GET", self._path, headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                return
            self.opened.set()
            while not self._over.is_set() and (piece := answer.read1(65_536)):
                self._take(piece, time.time())

    def _take(self, piece: bytes, at: float) -> None:
        for event in self._parser.feed(piece):
            if event.type == "reset":
                self.resets += 1
                continue
            body = json.loads(event.data)
            self.seen.append(Seen(body["id"], body["stream"]["id"], body["seq"], at))


def trial(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Writers and readers while commits are slow, somebody else's transaction stays open for long, and the process that
    makes ticks is killed again and again: what was missed, what came out of order, and how late each event came."""
    with ExitStack() as stack:
        product = _product(stage, stack)
        readers = [FeedReader(product) for _ in range(READERS)]
        for reader in readers:
            reader.start()
            stack.callback(reader.end)
        if not all(reader.opened.wait(SETTLE_SECONDS) for reader in readers):
            raise BenchError("the feed cannot be read")
        seconds = sizes["seconds"]
        request, number = requests_sent.post_event(product.key), stage.numbers(sizes["rate"] * seconds)
        options = {"rate": sizes["rate"], "seconds": seconds, "streams": STREAMS, "number": number}
        with Posting(product.port, request, connections=WRITERS, **options) as posting:
            kills = _trouble(product, sizes)
            answer = posting.result()
        stored = _settled(product, readers)
        result = judged([reader.seen for reader in readers], stored)
    result.figures |= {
        "accepted": float(answer["status"][2]),
        "unanswered": float(answer["errors"]),
        "kills": float(kills),
        "cuts": float(sum(reader.cuts for reader in readers)),
        "resets": float(sum(reader.resets for reader in readers)),
    }
    return result


def _product(stage: Stage, stack: ExitStack) -> Product:
    """A product on engines of its own: PostgreSQL has to say when what was committed."""
    directory = stage.directory / f"fed-{stage.numbers(1)}"
    directory.mkdir(mode=0o711)
    engines = Engines(directory)
    stack.callback(engines.stop)
    engines.start()
    sql(engines.postgres.url, "ALTER SYSTEM SET track_commit_timestamp = on")
    engines.postgres.stop()
    engines.postgres.start()
    product = Product(engines, stage.tree, name="fed", WEB_CONCURRENCY="2")
    stack.callback(product.stop)
    for statement in (SLEEPING, SLOW_COMMITS):
        sql(product.database_url, statement)
    return product


def _trouble(product: Product, sizes: Sizes) -> int:
    """Until the time is over; how often the process that makes ticks was killed."""
    began, kills = time.monotonic(), 0
    web = psutil.Process(product.processes["web"].pid)
    with closing(psycopg.connect(product.database_url)) as foreign:
        opened_at, killed_at = began, began
        foreign.execute("SELECT pg_current_xact_id()")  # from now on it counts as one that writes
        while (now := time.monotonic()) < began + sizes["seconds"]:
            if now > opened_at + sizes["foreign"]:
                foreign.commit()
                foreign.execute("SELECT pg_current_xact_id()")
                opened_at = now
            if now > killed_at + sizes["every"] and (ticking := ticking_process(product.database_url, web.children())):
                ticking.kill()
                kills, killed_at = kills + 1, now
            threading.Event().wait(LOOK_SECONDS)
    return kills


def _settled(product: Product, readers: Sequence[FeedReader]) -> Mapping[str, tuple[str, int, float]]:
    """What is stored, when every reader has been shown as much, or the time for that is over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        rows = sql(product.database_url, STORED, (product.workspace_id,))
        if all(len(reader.seen) >= len(rows) for reader in readers) or time.monotonic() > deadline:
            return {id: (stream, seq, at) for id, stream, seq, at in rows}
        threading.Event().wait(LOOK_SECONDS)


def judged(shown: Sequence[Sequence[Seen]], stored: Mapping[str, tuple[object, int, float]]) -> Result:
    """What readers have missed, were shown twice or out of order (of each stream), and how late. stored: by id, stream,
    seq and time of the commit."""
    result, late = Result(), list[int]()
    missed = twice = disorder = 0
    for seen in shown:
        last: dict[str, int] = {}
        ids = set()
        for one in seen:
            twice += one.id in ids
            disorder += one.seq <= last.get(one.stream, 0) and one.id not in ids
            last[one.stream] = max(one.seq, last.get(one.stream, 0))
            if one.id not in ids and one.id in stored:
                late.append(round(1e6 * (one.at - stored[one.id][2])))
            ids.add(one.id)
        missed += len(stored.keys() - ids)
    result.figures |= {"stored": float(len(stored)), "missed": float(missed), "twice": float(twice)}
    result.figures["out_of_order"] = float(disorder)
    result.latencies("feed", _pairs(late))
    return result


def _pairs(microseconds: Sequence[int]) -> Pairs:
    return histogram.merged([[histogram.bucket_of(one), 1]] for one in microseconds)


def accepting(stage: Stage, name: str, sizes: Sizes) -> Result:
    """A closed loop of single POSTs while nobody reads the feed, and while somebody does: accepted events a second."""
    product, result = stage.product, Result()
    product.fresh()
    request = requests_sent.post_event(product.key)
    watch = requests_sent.watch("/v1/feed/live", product.key)
    post(product.port, request, connections=CROWD, count=CROWD * 4, streams=STREAMS, number=stage.numbers(CROWD * 4))
    accepted = {False: 0.0, True: 0.0}
    taken = {False: 0.0, True: 0.0}
    for is_read in (False, True, True, False) * (SLICES // 2):
        number = stage.numbers(10_000 * sizes["seconds"])
        options = {"seconds": sizes["seconds"], "streams": STREAMS, "number": number}
        with ExitStack() as stack:
            viewers = stack.enter_context(Viewers(product.port, watch, 1)) if is_read else None
            answer = post(product.port, request, connections=CROWD, **options)
            if viewers and not viewers.wait_for("frames", int(answer["status"][2]), SETTLE_SECONDS):
                raise BenchError("the feed has not shown everything")
        accepted[is_read] += answer["status"][2]
        taken[is_read] += answer["seconds"]
    result.figures |= {"read_rate": accepted[True] / taken[True], "unread_rate": accepted[False] / taken[False]}
    return result
