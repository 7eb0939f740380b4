"""Consumers of the feed: readers whose places the server keeps. They read with a lease, and commit."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from . import objects
from .batches import is_for_now
from .calls import CUT, Api, Refused, given, path
from .stream import pause_seconds

WAIT_SECONDS = 20  # for events, before a page without any is answered
FIRST_WAIT_SECONDS = 0.5  # before the first repeat of what the server did not answer
TURN_SECONDS = 5.0  # between looks whether another reader has committed, which it may do long before its lease is over
HELD, LOST = "lease_held", "lease_lost"

log = logging.getLogger("twofold")
T = TypeVar("T")


class Consumers:
    """By name. Several processes may read one consumer; they take turns."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def put(
        self,
        name: str,
        *,
        streams: Sequence[str] = (),
        kinds: Sequence[str] = (),
        types: Sequence[str] = (),
        content_filter: Mapping[str, Any] | None = None,
        start: str | None = None,
    ) -> objects.FeedConsumer:
        """Make a consumer, or give one other filters; one that exists stays where it is. content_filter: as an
        endpoint's, such as {"path": "/amount", "gte": 100}. start: where a new one begins: earliest, latest, a time
        (RFC 3339) or a cursor."""
        named = {
            "streams": list(streams),
            "kinds": list(kinds),
            "types": list(types),
            "content_filter": content_filter,
            "start": start,
        }
        body = {name: value for name, value in named.items() if value}
        return cast(objects.FeedConsumer, self._api.ask("PUT", _path(name), body))

    def get(self, name: str) -> objects.FeedConsumer:
        return cast(objects.FeedConsumer, self._api.ask("GET", _path(name)))

    def each(self) -> Iterator[objects.FeedConsumer]:
        return self._api.pages("/v1/feed/consumers")

    def delete(self, name: str) -> None:
        self._api.ask("DELETE", _path(name))

    def read(
        self,
        name: str,
        *,
        limit: int | None = None,
        wait: int | None = None,
        lease_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> objects.FeedLease:
        """The next events, with a lease: until it is committed or over, nobody else reads. wait: seconds to wait when
        there is no event; without events there is no lease. A read that is repeated with its idempotency key has the
        same lease.

        Raises Refused with the code `lease_held` while somebody else reads, `cursor_lost` and `cursor_gone` as the feed
        does: seek to the `cursor` in its `problem`.
        """
        body = given(limit=limit, wait=wait, lease_seconds=lease_seconds)
        read = self._api.call(
            "POST", _path(name, "read"), body, idempotency_key=idempotency_key, waits_seconds=wait or 0
        )
        return cast(objects.FeedLease, read)

    def commit(self, name: str, lease: str, cursor: str | None = None) -> objects.FeedPlace:
        """Say what was handled: up to this cursor of the page, or all of it. What was not is read again.

        Raises Refused with the code `lease_lost` when somebody else has read meanwhile, or moved the consumer.
        """
        body = given(lease=lease, cursor=cursor)
        return cast(objects.FeedPlace, self._api.ask("POST", _path(name, "commit"), body))

    def seek(self, name: str, to: str) -> objects.FeedPlace:
        """Move the consumer: to earliest, latest, a time (RFC 3339) or a cursor."""
        return cast(objects.FeedPlace, self._api.ask("POST", _path(name, "seek"), {"to": to}))

    def pages(
        self, name: str, *, limit: int | None = None, wait: int = WAIT_SECONDS, lease_seconds: int | None = None
    ) -> Iterator[list[objects.FeedEntry]]:
        """Its events, page by page, without an end. A page is committed when the next one is asked for: whoever leaves
        the loop before gets it again. A page is empty when nothing came in `wait` seconds.

        It goes on over outages of the server, and while somebody else reads it asks every five seconds. Handle an event
        twice without harm: a page that took longer than its lease may go to somebody else, too. Raises Refused for what
        waiting does not mend.
        """
        while True:
            read = partial(
                self.read, name, limit=limit, wait=wait, lease_seconds=lease_seconds, idempotency_key=uuid.uuid4().hex
            )
            page = _until_answered(read, {HELD, LOST})
            yield page["data"]
            if page["lease"] is not None:
                self._committed(name, page["lease"])

    def _committed(self, name: str, lease: str) -> None:
        try:
            _until_answered(partial(self.commit, name, lease), set())
        except Refused as refused:
            if refused.code != LOST:
                raise
            log.warning("consumer %s: a page took longer than its lease, and somebody reads it again", name)


def _until_answered(ask: Callable[[], T], passing: Collection[str]) -> T:
    """What `ask` returns, once the server answers. passing: codes of refusals that pass. Raises Refused for others."""
    failures = 0
    while True:
        failures += 1
        pause = pause_seconds(FIRST_WAIT_SECONDS, failures, 0.0, random.random())
        try:
            return ask()
        except CUT as error:
            level = logging.WARNING if failures == 1 else logging.INFO
            log.log(level, "the server did not answer, and is asked again: %s", error)
        except Refused as refused:
            if refused.code in passing:
                pause = min(pause, TURN_SECONDS)
            elif is_for_now(refused.status):
                pause = max(pause, refused.retry_after_seconds)
            else:
                raise
        time.sleep(pause)


def _path(name: str, *parts: str) -> str:
    return path("/v1/feed/consumers", name, *parts)
