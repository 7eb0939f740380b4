"""Readers of a server whose database is replaced by another one, and what each must have been shown in the end.

Each goes on by itself, as its client would: by the id of the last event, by the cursor of a page, by the place that is
kept for it. None of them knows that the database was replaced, unless it is told.
"""

from __future__ import annotations

import json
import threading
import uuid
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from app.client import Stream

RETRY_SECONDS = 0.1
ASK_SECONDS = 15.0
Place = tuple[str, int]  # stream and seq


class Reader(threading.Thread):
    """One of them. shown: the ids of events, and None where it was told that some are lost; is_kept: the database keeps
    its place, which goes back with it, so that it is shown again what it was shown, and hears of nothing; stream: the
    only one it reads, or "" for all."""

    is_kept = False

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str], stream: str = "") -> None:
        super().__init__(name=name, daemon=True)
        self.shown: list[str | None] = []
        self.stream = stream
        self.fault = ""
        self._base_url, self._headers = base_url, headers
        self._over = threading.Event()

    def run(self) -> None:
        try:
            self.read()
        except Exception as error:  # whatever it is, the verdict has to say so
            self.fault = f"{self.name} ended: {error!r}"

    @abstractmethod
    def read(self) -> None:
        """Until it is over."""

    def end(self) -> None:
        """Read no more."""
        self._over.set()

    def _ask(self, method: str, path: str, body: Any = None, key: str = "") -> requests.Response | None:
        """An answer that says something; None when it is to be asked again. key: by which a repeat is known."""
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        try:
            answer = requests.request(
                method, f"{self._base_url}{path}", json=body, headers=headers, timeout=ASK_SECONDS
            )
        except requests.RequestException:
            answer = None
        if answer is not None and (answer.ok or answer.status_code in (409, 410)):
            return answer
        if answer is not None and answer.status_code < 500:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        self._over.wait(RETRY_SECONDS)
        return None

    def _take(self, page: Mapping[str, Any]) -> None:
        self.shown += [entry["event"]["id"] for entry in page["data"]]


class Live(Reader):
    """Server-sent events, of a stream or of the feed."""

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str], stream: str = "") -> None:
        super().__init__(name, base_url, headers, stream)
        path = f"/v1/streams/{stream}/live?after_seq=0" if stream else "/v1/feed/live?after=earliest"
        self._client = Stream(f"{base_url}{path}", headers=headers, first_wait_seconds=RETRY_SECONDS)

    def read(self) -> None:
        for event in self._client:
            self.shown.append(None if event.type == "reset" else json.loads(event.data)["id"])

    def end(self) -> None:
        super().end()
        self._client.close()


class Pages(Reader):
    """Pages of the feed, each from where the last one ended."""

    def read(self) -> None:
        cursor = "earliest"
        while not self._over.is_set():
            answer = self._ask("GET", f"/v1/feed?after={cursor}&wait=1")
            if answer is None:
                continue
            if not answer.ok:
                self.shown.append(None)
            else:
                self._take(answer.json())
            cursor = answer.json()["cursor"]


class Consumer(Reader):
    """A consumer whose place is kept for it. What it has read and not committed it is shown again."""

    is_kept = True

    def read(self) -> None:
        own = f"/v1/feed/consumers/{self.name}"
        while not self._over.is_set() and self._ask("PUT", own, {"start": "earliest"}) is None:
            continue
        key = uuid.uuid4().hex
        while not self._over.is_set():
            page = self._ask("POST", f"{own}/read", {"wait": 1, "lease_seconds": 5}, key)
            if page is None:
                continue
            found, key = page.json(), uuid.uuid4().hex
            if page.ok:
                self._take(found)
                if found["lease"] is not None:
                    self._ask("POST", f"{own}/commit", {"lease": found["lease"]})
            elif found["code"] in ("cursor_lost", "cursor_gone"):
                self.shown.append(None)
                self._ask("POST", f"{own}/seek", {"to": found["cursor"]})
            else:  # the lease was lost, or somebody has it: itself, in an earlier read
                self._over.wait(RETRY_SECONDS)


def broken(shown: Sequence[str | None], final: Mapping[str, Place], *, is_kept: bool) -> list[str]:
    """What is wrong with what a reader was shown, in words. final: all that it should have been shown, as the server
    that is left has it. is_kept: as of Reader."""
    told = max((at for at, id in enumerate(shown) if id is None), default=-1)
    lost = [id for at, id in enumerate(shown) if id is not None and id not in final and at > told]
    kept = [id for id in shown if id is not None and id in final]
    first = list(dict.fromkeys(kept))
    found = (
        [f"{len(lost)} events that are lost were shown, and nobody said so: {lost[0]}"] if lost and not is_kept else []
    )
    missing = sorted(final.keys() - set(first))
    found += [f"{len(missing)} events were not shown: {missing[0]} ({final[missing[0]]})"] if missing else []
    twice = [] if is_kept else sorted({id for id in first if kept.count(id) > 1})
    found += [f"{len(twice)} events were shown twice: {twice[0]}"] if twice else []
    last: dict[str, int] = {}
    for id in first:
        stream, seq = final[id]
        if seq < last.get(stream, 0):
            found.append(f"seq {seq} of {stream} was shown after {last[stream]}")
        last[stream] = max(seq, last.get(stream, 0))
    return found


def is_complete(shown: Sequence[str | None], final: Mapping[str, Place]) -> bool:
    """Whether a reader has been shown everything."""
    return final.keys() <= set(shown)
