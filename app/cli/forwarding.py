"""`twofold listen --forward-to`: the feed, read from a kept place, sent on to a receiver on this machine.

One webhook after the other. The place is kept after each answer, so whoever is killed repeats at most the one that was
under way, with the same webhook-id.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import click

from app.cli.api import Api, refusal
from app.cli.command import CommandError, Status
from app.cli.forward_receiver import Answer, Receiver
from app.cli.forward_state import State, StateFile
from app.cli.shown import cell, json_line
from app.client.stream import pause_seconds
from app.core.wire.json_text import members, split_array

WAIT_SECONDS = 25  # of one question to the server for more
PAGE_EVENTS = 100
MOST_EVENTS = 250  # the most that a page can be asked to hold
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0  # a developer who has just started the receiver waits for this
LATER = frozenset({408, 425, 429})  # and 5xx: the server will have us again


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of the feed. body: its envelope, as spelled; cursor: behind it."""

    body: bytes
    cursor: str


@dataclass(frozen=True, slots=True)
class Page:
    """Events of the feed. cursor: behind them."""

    entries: Sequence[Entry]
    cursor: str


class Ending:
    """Ctrl-C: what is under way is finished first; a second one does not wait for that."""

    def __init__(self) -> None:
        self._busy = self._asked = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """While this lasts, Ctrl-C raises KeyboardInterrupt at a moment that harms nothing."""
        before = signal.signal(signal.SIGINT, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def later(self) -> Iterator[None]:
        """What is not to be broken off. Raises KeyboardInterrupt at its end, if that was asked for."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._asked:
            raise KeyboardInterrupt

    def _hear(self, *_: object) -> None:
        if self._asked or not self._busy:
            raise KeyboardInterrupt
        self._asked = True


class Forwarding:
    """Sends on what comes. asked: the filters; tell: prints a line for people, on standard error."""

    def __init__(
        self,
        api: Api,
        receiver: Receiver,
        file: StateFile,
        state: State,
        asked: Mapping[str, str],
        *,
        as_json: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._api, self._receiver, self._file, self._state = api, receiver, file, state
        self._asked, self._as_json, self._tell = dict(asked), as_json, tell
        self._ending = Ending()
        self._told_down = False

    def run(self) -> None:
        """Until Ctrl-C. Raises CommandError for what trying again does not mend, OSError when the place cannot be
        kept."""
        with self._ending.heard():
            while True:
                page = self._next_page()
                for entry in page.entries:
                    self._forward(entry)
                if page.cursor != self._state.cursor:
                    self._keep(page.cursor)

    def _next_page(self) -> Page:
        failures = moves = 0
        while True:
            asked = {**self._asked, "after": self._state.cursor, "wait": str(WAIT_SECONDS), "limit": str(PAGE_EVENTS)}
            page = read_page(self._api, asked)
            if isinstance(page, Page):
                if failures:
                    self._tell(f"{self._api.server.url} answers again")
                return page
            if page.cursor:
                self._tell(f"{page.why}; going on from where the server says")
                self._keep(page.cursor)
                if moves:  # the server moves it again and again
                    _pause(moves)
                moves += 1
                continue
            failures += 1
            if failures == 1:
                self._tell(f"{page.why}; trying again until it does")
            _pause(failures)

    def _forward(self, entry: Entry) -> None:
        event: Mapping[str, Any] = json.loads(entry.body)
        for attempts in itertools.count(1):
            with self._ending.later():
                answer = self._receiver.post(event["id"], entry.body, self._state.cursor)
                if not answer.is_down:
                    self._keep(entry.cursor)
                    self._show(event, answer, attempts)
                    self._told_down = False
                    return
            if not self._told_down:
                why = answer.why or f"it answers {answer.status}"
                self._tell(f"{self._receiver.url} is down ({why}); trying again until it is back")
                self._told_down = True
            _pause(attempts)

    def _keep(self, cursor: str) -> None:
        self._state = replace(self._state, cursor=cursor)
        self._file.write(self._state)

    def _show(self, event: Mapping[str, Any], answer: Answer, attempts: int) -> None:
        stream = event["stream"]
        if self._as_json:
            told = {
                "webhook_id": event["id"],
                "type": event["type"],
                "stream": stream,
                "seq": event["seq"],
                "status": answer.status,
                "duration_ms": answer.milliseconds,
                "attempts": attempts,
            }
            click.echo(json_line(told))
            return
        again = f", attempt {attempts}" if attempts > 1 else ""
        note = "" if answer.is_good else "; a delivery would be attempted again"
        name = f"{cell(event['type'])} {cell(stream['kind'])}/{cell(stream['id'])} seq {event['seq']}"
        now = time.strftime("%H:%M:%S")
        click.echo(f"{now} {name} {cell(event['id'])}: {answer.status} in {answer.milliseconds} ms{again}{note}")


@dataclass(frozen=True, slots=True)
class NoPage:
    """That there is no page now. cursor: where to go on instead, if the place was lost."""

    why: str
    cursor: str = ""


def read_page(api: Api, asked: Mapping[str, str]) -> Page | NoPage:
    """A page of the feed. Raises CommandError for a refusal that will not change."""
    try:
        answer = api.answered("GET", "/v1/feed", params=asked)
    except CommandError as error:
        return NoPage(str(error))
    if answer.status_code >= 500 or answer.status_code in LATER:
        return NoPage(str(refusal(answer.status_code, answer.text)))
    if answer.ok and not answer.is_redirect:
        try:
            return page_of(answer.content.decode())
        except (ValueError, KeyError, TypeError, IndexError):
            return NoPage(f"{api.server.url} does not answer as Twofold does")
    if answer.status_code in (409, 410) and (cursor := _other_cursor(answer.text)):
        return NoPage(str(refusal(answer.status_code, answer.text)), cursor)
    raise refusal(answer.status_code, answer.text, answer.headers.get("Location", ""))


def page_of(text: str) -> Page:
    """A page as it came, its events as they were spelled. Raises ValueError, KeyError, TypeError for what is none."""
    json.loads(text)
    found = {name: raw for name, raw, _ in members(text)}
    entries = []
    for element in split_array(found["data"].encode(), MOST_EVENTS):
        entry = {name: raw for name, raw, _ in members(element.decode())}
        entries.append(Entry(entry["event"].encode(), str(json.loads(entry["cursor"]))))
    return Page(entries, str(json.loads(found["cursor"])))


def first_place(api: Api, asked: Mapping[str, str], after: str) -> str:
    """Where to begin: a cursor for latest, which moves on; other places stay where they are. Raises CommandError."""
    answer = read_page(api, {**asked, "after": after, "limit": "1"})
    if isinstance(answer, NoPage):
        raise CommandError(answer.why, Status.REFUSED if answer.cursor else Status.UNREACHABLE)
    return answer.cursor if after == "latest" else after


def _other_cursor(text: str) -> str:
    try:
        return str(json.loads(text)["cursor"])
    except (ValueError, KeyError, TypeError):
        return ""


def _pause(failures: int) -> None:
    seconds = pause_seconds(FIRST_PAUSE_SECONDS, failures, 0, random.random(), LONGEST_PAUSE_SECONDS)
    threading.Event().wait(seconds)
