"""The feed: everything of a workspace in one order, read by a cursor or followed live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast
from urllib.parse import urlencode

from . import objects
from .calls import Api, given
from .stream import Stream


class Feed:
    """streams: such as call:call_42; kinds; types: such as call.*. Empty means all. A cursor stands for a place in the
    feed: store it beside what you have handled, and go on from it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def page(
        self,
        after: str = "earliest",
        *,
        streams: Sequence[str] = (),
        kinds: Sequence[str] = (),
        types: Sequence[str] = (),
        wait: int | None = None,
        limit: int | None = None,
    ) -> objects.FeedPage:
        """after: earliest, latest, a time (RFC 3339) or a cursor. wait: seconds to wait when there is no event.

        Raises Refused with the code `cursor_lost` when the events behind the cursor were lost with a server, and
        `cursor_gone` when they are kept no longer; its `problem` has the `cursor` to go on from.
        """
        query = given(after=after, wait=wait, limit=limit) | _wanted(streams, kinds, types)
        return cast(objects.FeedPage, self._api.ask("GET", "/v1/feed", **query))

    def each(
        self,
        after: str = "earliest",
        *,
        streams: Sequence[str] = (),
        kinds: Sequence[str] = (),
        types: Sequence[str] = (),
    ) -> Iterator[objects.FeedEntry]:
        """The events that there are now, page by page, each with the cursor behind it."""
        more = True
        while more:
            page = self.page(after, streams=streams, kinds=kinds, types=types)
            yield from page["data"]
            after, more = page["cursor"], page["more"]

    def live(
        self,
        after: str = "latest",
        *,
        streams: Sequence[str] = (),
        kinds: Sequence[str] = (),
        types: Sequence[str] = (),
    ) -> Stream:
        """Follow the feed. Each event's `id` is a cursor, and the stream's `last_event_id` is the last one.

        An event of the type `reset` says that what came last was lost with a server; its data has the `reason`, and the
        feed goes on from its `id`.
        """
        query = _wanted(streams, kinds, types)
        cursor = ""
        if after == "latest":  # where that is now: a cut before the first event must not move it
            cursor = self.page("latest")["cursor"]
        else:
            query["after"] = after
        address = f"{self._api.base_url}/v1/feed/live"
        address += f"?{urlencode(query)}" if query else ""
        return Stream(address, headers=self._api.headers, last_event_id=cursor)


def _wanted(streams: Sequence[str], kinds: Sequence[str], types: Sequence[str]) -> dict[str, str]:
    named = {"streams": ",".join(streams), "kinds": ",".join(kinds), "types": ",".join(types)}
    return {name: text for name, text in named.items() if text}
