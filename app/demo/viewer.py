"""The demo's viewers: each follows one view of one stream in a thread of its own and writes down what it sees."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx

from app.client.books.bookkeeper import Viewer
from app.client.books.records import members, without
from app.demo.plan import DemoView
from app.demo.readers import CONNECT_SECONDS, LOST, READERS, Item, Refused

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ViewAddress:
    """Where and as whom a viewer connects. path: of the view; mint: path to POST to before (see demo.toml)."""

    base_url: str
    key: str
    path: str
    mint: str | None


class DemoViewer(threading.Thread):
    """Follows a view until the server says that it is over (204, or refuses an ended stream) or until it is stopped.

    page: in the books; may_be_over: whether the stream's last event has been posted; stop: ends it at the next event.
    opened: set at the first connect; over: set when the server ended it; faults: what was wrong with frames.
    """

    def __init__(
        self, view: DemoView, address: ViewAddress, page: Viewer, may_be_over: Callable[[], bool], stop: threading.Event
    ) -> None:
        super().__init__(name=f"viewer {view.name}", daemon=True)
        self.view = view
        self.page = page
        self.opened = threading.Event()
        self.over = threading.Event()
        self.connects = 0
        self.faults: list[str] = []
        self._address = address
        self._reader = READERS[view.reader]()
        self._may_be_over = may_be_over
        self._stop_asked = stop
        self._last_event_id = ""

    @property
    def reconnects(self) -> int:
        """How often it had to connect again and could."""
        return max(self.connects - 1, 0)

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # whatever it is, the outcome has to say so
            self.faults.append(f"the viewer broke: {error!r}")
        self.opened.set()

    def _run(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while not self._stop_asked.is_set():
            before = self.page.arrived
            try:
                self._follow()
            except Refused as refused:
                if self._ends_by(refused.status):
                    return
            except LOST:
                if not self.view.resumes and self.connects:
                    self.page.cut("the connection broke, and this contract replays nothing")
            wait = FIRST_WAIT_SECONDS if self.page.arrived > before else min(wait * 2, LONGEST_WAIT_SECONDS)
            self._stop_asked.wait(wait)

    def _ends_by(self, status: int) -> bool:
        """Whether an answer that is no stream is the last word."""
        if status == 204 or (400 <= status < 500 and self._may_be_over()):
            self.over.set()
            return True
        if status in (408, 425, 429) or status >= 500:
            return False
        self.faults.append(f"the view was refused with status {status}")
        return True

    def _follow(self) -> None:
        """Connect once and read until the connection ends."""
        url, key = self._credentials()
        headers = {"Authorization": f"Bearer {key}"}
        if self._last_event_id:
            headers["Last-Event-ID"] = self._last_event_id
        elif self.connects and self.view.resumes:
            headers["Last-Event-ID"] = "0"  # cut before the first event: everything since the beginning
        with self._reader.reading(url, headers) as items:
            if self.connects and not self.view.resumes:
                self.page.cut("connected again, and this contract replays nothing")
            self.connects += 1
            self.opened.set()
            for item in items:
                self._take(item)
                if self._stop_asked.is_set():
                    return

    def _credentials(self) -> tuple[str, str]:
        """The URL to open and the key or token for it."""
        if self._address.mint is None:
            return urljoin(self._address.base_url, self._address.path), self._address.key
        url = urljoin(self._address.base_url, self._address.mint)
        response = httpx.post(url, headers={"X-API-Key": self._address.key}, timeout=CONNECT_SECONDS, trust_env=False)
        if response.status_code not in (200, 201):
            raise Refused(response.status_code, response.text)
        answer = response.json()
        return answer["url"], answer["token"]

    def _take(self, item: Item) -> None:
        if not item.data:
            return  # a comment or a `retry:` line: httpx-sse makes an empty event of it
        if item.id:
            self._last_event_id = item.id
        try:
            self._write_down(item)
        except (ValueError, KeyError, TypeError) as error:
            self.faults.append(f"a frame cannot be read ({error!r}): {item.data[:200]!r}")

    def _write_down(self, item: Item) -> None:
        body = item.data.encode()
        if self.view.frame == "payload":
            if item.name not in self.view.control:
                self.page.saw(seq=int(item.id) if item.id else None, type=item.name, data=body)
            return
        fields = dict(members(body))
        type = str(json.loads(fields["event_type" if self.view.frame == "flat" else "type"]))
        if type in self.view.control:
            return
        if self.view.frame == "flat":
            data = without(body, self.view.added)
            self.page.saw(event_id=str(json.loads(fields["event_id"])), type=type, data=data)
            return
        if fields.get("event_type", fields["type"]) != fields["type"] or not fields.keys() >= set(self.view.added):
            self.faults.append(f"added members are missing or wrong: {item.data[:200]!r}")
        self.page.saw(seq=int(fields["seq"]), event_id=str(json.loads(fields["id"])), type=type, data=fields["data"])
