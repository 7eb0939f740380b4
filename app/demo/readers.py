"""Three ways to read a stream, each with a client that others wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import requests
import websockets
from httpx_sse import connect_sse
from websockets.sync.client import connect as connect_websocket

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 45.0  # the slowest heartbeat of the contracts is 30 s

# What a lost connection raises, by whichever client.
LOST = (httpx.TransportError, requests.RequestException, websockets.WebSocketException, OSError)


@dataclass(frozen=True, slots=True)
class Item:
    """One event as a reader gives it. name: the `event:` line or empty; id: the `id:` line or empty."""

    name: str
    id: str
    data: str


class Refused(Exception):
    """The server answered something else than the stream. status: HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text[:300]}")
        self.status = status


class Reader(ABC):
    """Opens a stream and gives its events."""

    @abstractmethod
    def reading(self, url: str, headers: Mapping[str, str]) -> AbstractContextManager[Iterator[Item]]:
        """The events of one connection. Raises Refused for another answer than a stream."""


class HttpxSse(Reader):
    """The `httpx-sse` package."""

    def __init__(self) -> None:
        timeout = httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS)
        self._http = httpx.Client(timeout=timeout, trust_env=False)

    @contextmanager
    def reading(self, url: str, headers: Mapping[str, str]) -> Iterator[Iterator[Item]]:
        with connect_sse(self._http, "GET", url, headers=dict(headers)) as source:
            if source.response.status_code != 200:
                source.response.read()
                raise Refused(source.response.status_code, source.response.text)
            yield (
                Item(event.event if event.event != "message" else "", event.id, event.data)
                for event in source.iter_sse()
            )


class Lines(Reader):
    """`requests`, line by line, as the example in document 003 does it, and the `id:` line besides.

    Unlike that example it waits for the blank line: a cut may leave half an event behind. Like that example it breaks
    a line at a raw U+2028, too: see examples/README.md.
    """

    def __init__(self) -> None:
        self._http = requests.Session()
        self._http.trust_env = False

    @contextmanager
    def reading(self, url: str, headers: Mapping[str, str]) -> Iterator[Iterator[Item]]:
        timeout = (CONNECT_SECONDS, SILENCE_SECONDS)
        with self._http.get(url, headers=dict(headers), stream=True, timeout=timeout) as response:
            if response.status_code != 200:
                raise Refused(response.status_code, response.text)
            yield self._items(response)

    def _items(self, response: requests.Response) -> Iterator[Item]:
        event_type = id = data = ""
        for line in response.iter_lines(decode_unicode=True):
            if not line:
                if data:
                    yield Item(event_type, id, data)
                event_type = data = ""
            elif line.startswith("event: "):
                event_type = line[7:]
            elif line.startswith("id: "):
                id = line[4:]
            elif line.startswith("data: "):
                data = line[6:]


class WebSocketReader(Reader):
    """The `websockets` package: each text is one item without a name."""

    @contextmanager
    def reading(self, url: str, headers: Mapping[str, str]) -> Iterator[Iterator[Item]]:
        parts = urlsplit(url)
        address = parts._replace(scheme="wss" if parts.scheme == "https" else "ws").geturl()
        try:
            connection = connect_websocket(
                address, additional_headers=dict(headers), open_timeout=CONNECT_SECONDS, proxy=None
            )
        except websockets.InvalidStatus as error:
            raise Refused(error.response.status_code, (error.response.body or b"").decode(errors="replace")) from None
        with connection:
            yield (Item("", "", text if isinstance(text, str) else text.decode()) for text in connection)


READERS: dict[str, Callable[[], Reader]] = {"httpx-sse": HttpxSse, "lines": Lines, "websocket": WebSocketReader}
