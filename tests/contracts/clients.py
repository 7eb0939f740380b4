"""Clients that others wrote, brought to one form: a generator of the events of a connection.

Some come back by themselves; their generator goes on over cuts and ends with `Over` alone.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import requests
import requests_sse
import sseclient
from httpx_sse import connect_sse
from ld_eventsource import SSEClient
from ld_eventsource.config import ConnectStrategy, ErrorStrategy
from ld_eventsource.errors import HTTPStatusError

SECONDS = 20.0
RETRY_SECONDS = 0.05
LOST = (httpx.TransportError, requests.RequestException, OSError)


class Item(NamedTuple):
    """An event as a client gives it; empty: the client was told none (or does not look)."""

    name: str
    id: str
    data: str


class Over(Exception):
    """The server answered something else than the stream."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


Read = Callable[[str, Mapping[str, str]], Iterator[Item]]


def read_httpx_sse(url: str, headers: Mapping[str, str]) -> Iterator[Item]:
    with (
        httpx.Client(timeout=SECONDS, trust_env=False) as http,
        connect_sse(http, "GET", url, headers=dict(headers)) as source,
    ):
        if source.response.status_code != 200:
            raise Over(source.response.status_code)
        for event in source.iter_sse():
            if event.data:  # a comment or a `retry:` line may come as an empty event, says its documentation
                yield Item(event.event, event.id, event.data)


def read_sseclient(url: str, headers: Mapping[str, str]) -> Iterator[Item]:
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as response:
        if response.status_code != 200:
            raise Over(response.status_code)
        for event in sseclient.SSEClient(response).events():
            yield Item(event.event, event.id or "", event.data)


def read_requests_sse(url: str, headers: Mapping[str, str]) -> Iterator[Item]:
    """Comes back by itself."""
    try:
        with requests_sse.EventSource(
            url,
            headers=dict(headers),
            timeout=SECONDS,
            reconnection_time=timedelta(seconds=RETRY_SECONDS),
            max_connect_retry=8,
        ) as source:
            for event in source:
                yield Item(event.type or "", event.last_event_id, event.data or "")
    except requests_sse.InvalidStatusCodeError as error:
        raise Over(error.status_code) from None


def read_launchdarkly(url: str, headers: Mapping[str, str]) -> Iterator[Item]:
    """Comes back by itself."""

    def judge(error: Exception | None) -> tuple[bool, Any]:
        return (ErrorStrategy.FAIL if isinstance(error, HTTPStatusError) else ErrorStrategy.CONTINUE, None)

    client = SSEClient(
        ConnectStrategy.http(url, headers=dict(headers)),
        initial_retry_delay=RETRY_SECONDS,
        error_strategy=ErrorStrategy.from_lambda(judge),
    )
    try:
        for event in client.events:
            yield Item(event.event, event.id or "", event.data)
    except HTTPStatusError as error:
        raise Over(error.status) from None
    finally:
        client.close()


def read_lines(url: str, headers: Mapping[str, str]) -> Iterator[Item]:
    """Document 003's own Python example: its loop as it stands there, with `yield` where it prints."""
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as response:
        if response.status_code != 200:
            raise Over(response.status_code)
        event_type = None
        for line in response.iter_lines(decode_unicode=True):
            if not line:
                event_type = None
                continue
            if line.startswith(":"):
                # Keepalive comment, ignore
                continue
            if line.startswith("event: "):
                event_type = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                yield Item(event_type or "", "", json.dumps(data))


def read_curl(url: str, headers: Mapping[str, str]) -> Iterator[Item]:
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    with subprocess.Popen(["curl", "-sSNi", *given, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as curl:
        assert curl.stdout is not None
        lines = (line.decode().rstrip("\r\n") for line in curl.stdout)
        try:
            first = next(lines, "")
            for line in lines:
                if not line:
                    break
            if " 200 " not in first:
                if first:
                    raise Over(int(first.split(" ")[1]))
                raise ConnectionError("no answer")
            yield from _items(lines)
        finally:
            curl.terminate()


def _items(lines: Iterator[str]) -> Iterator[Item]:
    """What a person sees in the terminal, frame by frame."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Item(fields.get("event", ""), fields.get("id", ""), fields.get("data", ""))
            fields = {}


READERS: dict[str, Read] = {
    "httpx-sse": read_httpx_sse,
    "sseclient-py": read_sseclient,
    "requests-sse": read_requests_sse,
    "launchdarkly-eventsource": read_launchdarkly,
    "document 003's line reader": read_lines,
    "curl": read_curl,
}
