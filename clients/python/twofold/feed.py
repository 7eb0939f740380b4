"""The feed: everything of a workspace in one order, read by a cursor or followed live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlencode

from . import objects
from .calls import Api, given, path
from .stream import Stream

_PATH = "/v1/feed"


class Feed:
    """A cursor stands for a place in the feed: store it beside what you have handled, and go on from it.

    What is asked for, all of it when left out: streams, such as call:call_42; kinds; types, such as call.*;
    content_filter, such as {"path": "/amount", "gte": 100}, as an endpoint's.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def page(
        self,
        after: str = "earliest",
        *,
        streams: Sequence[str] = (),
        kinds: Sequence[str] = (),
        types: Sequence[str] = (),
        content_filter: Mapping[str, Any] | None = None,
        wait: int | None = None,
        limit: int | None = None,
    ) -> objects.FeedPage:
        """after: earliest, latest, a time (RFC 3339) or a cursor. wait: seconds to wait when there is no event.

        Raises Refused with the code `cursor_lost` when the events behind the cursor were lost with a server, and
        `cursor_gone` when they are kept no longer; its `problem` has the `cursor` to go on from.
        """
        query = given(after=after, wait=wait, limit=limit) | _wanted(streams, kinds, types, content_filter)
        return cast(objects.FeedPage, self._api.call("GET", _PATH, None, query, waits_seconds=wait or 0))

    def each(
        self,
        after: str = "earliest",
        *,
        streams: Sequence[str] = (),
        kinds: Sequence[str] = (),
        types: Sequence[str] = (),
        content_filter: Mapping[str, Any] | None = None,
    ) -> Iterator[objects.FeedEntry]:
        """The events that there are now, page by page, each with the cursor behind it."""
        more = True
        while more:
            page = self.page(after, streams=streams, kinds=kinds, types=types, content_filter=content_filter)
            yield from page["data"]
            after, more = page["cursor"], page["more"]

    def live(
        self,
        after: str = "latest",
        *,
        streams: Sequence[str] = (),
        kinds: Sequence[str] = (),
        types: Sequence[str] = (),
        content_filter: Mapping[str, Any] | None = None,
        token: Callable[[], str] | None = None,
    ) -> Stream:
        """Follow the feed. Each event's `id` is a cursor, and the stream's `last_event_id` is the last one.

        token: returns a token of the feed, where the key is not to be used. An event of the type `reset` says that
        events behind the last cursor are missing; its data has the `reason`, and the feed goes on from its `id`.
        """
        query = _wanted(streams, kinds, types, content_filter)
        cursor = ""
        if after == "latest" and token is None:  # where that is now: a cut before the first event must not move it
            cursor = self.page("latest")["cursor"]
        elif after != "latest":
            query["after"] = after
        address = f"{self._api.base_url}{_PATH}/live"
        address += f"?{urlencode(query)}" if query else ""
        headers = {} if token is not None else self._api.headers
        return Stream(address, headers=headers, token=token, last_event_id=cursor)

    def make_token(self, *, streams: Sequence[str] = (), kinds: Sequence[str] = ()) -> objects.FeedToken:
        """A short-lived key to the live feed of these streams, or kinds of streams, and nothing else: for a browser."""
        body = given(streams=list(streams) or None, kinds=list(kinds) or None)
        return cast(objects.FeedToken, self._api.ask("POST", f"{_PATH}/tokens", body))

    def tokens(self) -> Iterator[objects.FeedTokenInfo]:
        """Those that work, newest first."""
        return self._api.pages(f"{_PATH}/tokens")

    def revoke_token(self, token_id: str) -> None:
        """What it opened is closed within seconds."""
        self._api.ask("DELETE", path(f"{_PATH}/tokens", token_id))


def _wanted(
    streams: Sequence[str], kinds: Sequence[str], types: Sequence[str], content: Mapping[str, Any] | None
) -> dict[str, str]:
    named = {"streams": ",".join(streams), "kinds": ",".join(kinds), "types": ",".join(types)}
    named["content_filter"] = "" if content is None else json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return {name: text for name, text in named.items() if text}
