"""One run of the demo: endpoint, streams, viewers and producer, and how it ended."""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import uuid4

from standardwebhooks import Webhook

from app.client.books.bookkeeper import Bookkeeper, Receiver
from app.client.books.records import StreamName, Wanted
from app.demo import plan, report
from app.demo.plan import DemoView, Play, RecordedEvent
from app.demo.producer import Producer, Tally
from app.demo.product import DemoError, Product
from app.demo.receiver import DemoReceiver
from app.demo.report import RunResult
from app.demo.viewer import DemoViewer, ViewAddress

OPEN_SECONDS = 30.0
CLOSE_SECONDS = 15.0
LOOK_SECONDS = 0.1
LOG_SECONDS = 90.0  # logged a moment after the answer; after a crash when the lease has ended and it was sent again
WEBHOOK = "webhook"
EXPLAINED = 5  # missing webhooks whose deliveries are looked up


class Demo:
    """One run over one or more plays. options: see app/demo/__main__.py."""

    def __init__(self, product: Product, options: argparse.Namespace) -> None:
        self._product = product
        self._options = options
        self._books = Bookkeeper()
        self._tally = Tally()
        self._viewers: list[DemoViewer] = []
        self._page: Receiver | None = None
        self._problems: list[str] = []
        self._open: list[StreamName] = []

    def run(self, plays: Sequence[Play]) -> RunResult:
        """Play everything and say how it ended. What was made at the product is taken away again."""
        with self._product, DemoReceiver() as receiver, self._endpoint(receiver) as (endpoint_id, secret):
            # The endpoint hears of the whole workspace; what is not of this run is let pass.
            receiver.page = self._page = self._books.receiver(WEBHOOK, Webhook(secret).verify, shared=True)
            began = time.monotonic()
            for play in list(plays) * self._options.count:
                self._play(play)
            took = time.monotonic() - began
            result = self._result(plays, took, self._logged(endpoint_id))
            self._explain(result)
        return result

    @contextmanager
    def _endpoint(self, receiver: DemoReceiver) -> Iterator[tuple[str, str]]:
        """A fresh endpoint for the receiver, deleted afterwards: its id and secret. Open streams are ended, too."""
        made = self._product.ask("POST", "/v1/endpoints", {"url": receiver.url, "description": "make demo"})
        try:
            yield str(made["id"]), str(made["secret"])
        finally:
            with suppress(DemoError):
                self._product.ask("DELETE", f"/v1/endpoints/{made['id']}")
                for kind, name in self._open:
                    self._product.ask("POST", f"/v1/streams/{kind}/{name}/end")

    def _play(self, play: Play) -> None:
        unique = uuid4()
        stream = (play.kind, plan.stream_id(play.stream, unique))
        events = self._events(play, stream[1])
        self._product.ask("PUT", f"/v1/streams/{stream[0]}/{stream[1]}", {"attributes": dict(play.attributes)})
        self._open.append(stream)
        stop, last_posted = threading.Event(), threading.Event()
        viewers = self._open_views(play, stream, last_posted, stop)
        producer = Producer(self._product.http, self._books, self._tally, stop.wait, last_posted.set)
        when = moments([event.at for event in events], self._options)
        thread = threading.Thread(target=producer.play, args=(stream, unique.hex, events, when), daemon=True)
        try:
            if self._are_open(viewers):
                thread.start()
                self._watch(viewers, thread, events)
                self._end(play, stream, viewers)
        finally:
            stop.set()

    def _events(self, play: Play, stream_id: str) -> list[RecordedEvent]:
        events = plan.recording(play.recording)
        if self._options.events:
            events = plan.resized(events, self._options.events)
        return plan.named(events, play.recorded_id, stream_id)

    def _open_views(
        self, play: Play, stream: StreamName, last_posted: threading.Event, stop: threading.Event
    ) -> list[DemoViewer]:
        viewers = []
        for view in play.views:
            page = self._books.viewer(view.name, stream, wants=_wants(view))
            path = view.path.replace("{stream}", stream[1])
            mint = view.mint.replace("{stream}", stream[1]) if view.mint else None
            address = ViewAddress(self._product.base_url, self._product.key, path, mint)
            viewers.append(DemoViewer(view, address, page, last_posted.is_set, stop))
            viewers[-1].start()
        self._viewers += viewers
        return viewers

    def _are_open(self, viewers: Sequence[DemoViewer]) -> bool:
        deadline = time.monotonic() + OPEN_SECONDS
        for viewer in viewers:
            if not viewer.opened.wait(max(deadline - time.monotonic(), 0)):
                self._problems.append(f"{viewer.view.name}: not open after {OPEN_SECONDS:.0f} s")
                return False
        return not any(viewer.faults for viewer in viewers)

    def _watch(
        self, viewers: Sequence[DemoViewer], producing: threading.Thread, events: Sequence[RecordedEvent]
    ) -> None:
        """Show the progress until everything has arrived, or until the deadline after the last post."""
        shown = {viewer.view.name: sum(viewer.view.shows(event.type) for event in events) for viewer in viewers}
        totals = {"posted": len(events), **shown, WEBHOOK: len(events)}
        start = self._figures(viewers)
        with report.meter(totals) as meter:
            deadline = math.inf
            while producing.is_alive() or (not self._books.is_complete() and time.monotonic() < deadline):
                if deadline == math.inf and not producing.is_alive():
                    deadline = time.monotonic() + self._options.deadline
                now = self._figures(viewers)
                meter.show({name: now[name] - start[name] for name in now})
                time.sleep(LOOK_SECONDS)
            now = self._figures(viewers)
            meter.show({name: now[name] - start[name] for name in now}, last=True)

    def _figures(self, viewers: Sequence[DemoViewer]) -> dict[str, int]:
        """How much was posted and has arrived up to now, by column."""
        seen = {viewer.view.name: viewer.page.arrived for viewer in viewers}
        delivered = self._page.arrived if self._page else 0
        return {"posted": self._books.acknowledged_count, **seen, WEBHOOK: delivered}

    def _end(self, play: Play, stream: StreamName, viewers: Sequence[DemoViewer]) -> None:
        """Check what the server says of the stream, and that it closes the views of one that has ended."""
        posts = [post for post in self._books.posts() if post.stream == stream]
        shown = self._product.ask("GET", f"/v1/streams/{stream[0]}/{stream[1]}")
        if shown["last_seq"] != len(posts):
            self._problems.append(f"{stream[1]}: posted {len(posts)} events, but its last_seq is {shown['last_seq']}")
        if not play.ends:
            self._product.ask("POST", f"/v1/streams/{stream[0]}/{stream[1]}/end")
        self._open.remove(stream)
        deadline = time.monotonic() + CLOSE_SECONDS
        for viewer in viewers:
            if not viewer.over.wait(max(deadline - time.monotonic(), 0)):
                self._problems.append(f"{viewer.view.name}: not closed {CLOSE_SECONDS:.0f} s after the stream's end")

    def _logged(self, endpoint_id: str) -> int:
        """How many of the posted events the delivery log calls delivered, once it has had time to."""
        posted = {post.event_id for post in self._books.posts()}
        deadline = time.monotonic() + LOG_SECONDS
        while True:
            delivered = self._product.delivered(endpoint_id) & posted
            if delivered == posted or time.monotonic() > deadline:
                return len(delivered)
            time.sleep(LOOK_SECONDS)

    def _result(self, plays: Sequence[Play], seconds: float, logged: int) -> RunResult:
        recordings = ", ".join(play.recording for play in plays)
        posts = self._books.posts()
        faults = [f"{viewer.view.name}: {fault}" for viewer in self._viewers for fault in viewer.faults]
        return RunResult(
            title=f"{recordings}, {seconds:.1f} s",
            posted=len(posts),
            acknowledged=self._books.acknowledged_count,
            logged=logged,
            tally=self._tally,
            counts=self._books.counts(),
            reconnects=sum(viewer.reconnects for viewer in self._viewers),
            findings=self._books.findings(),
            problems=[*self._problems, *self._tally.reasons, *faults],
        )

    def _explain(self, result: RunResult) -> None:
        """Add what the delivery log says about webhooks that did not come, if it can be asked."""
        missing = [found.subject for found in result.findings if (found.where, found.kind) == (WEBHOOK, "missing")]
        with suppress(DemoError):
            for event_id in missing[:EXPLAINED]:
                for delivery in self._product.ask("GET", f"/v1/events/{event_id}/deliveries")["data"]:
                    said = {name: delivery[name] for name in ("id", "status", "reason", "attempt_count")}
                    result.problems.append(f"the delivery log on {event_id}: {said}")


def moments(at: Sequence[float], options: argparse.Namespace) -> list[float]:
    """When to post each event, in seconds from the beginning. at: the recording's own times, ascending."""
    if options.rate:
        return [number / options.rate for number in range(len(at))]
    length = at[-1] - at[0]
    factor = 1 / options.speed if options.speed else options.duration / (length or 1.0)
    return [(moment - at[0]) * factor for moment in at]


def _wants(view: DemoView) -> Wanted | None:
    return None if view.types is None and not view.hidden else lambda post: view.shows(post.type)
