"""A crowd of viewers in one process: plain asyncio sockets that come back as an EventSource or a phone app would."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.processes import RunningServer

ANSWER_SECONDS = 30.0
FIRST_RETRY_SECONDS = 3.0  # of an EventSource that has not been told otherwise
COME_BACK = {1001, 1005, 1006, 1012, 1013}  # WebSocket close codes that do not mean "over" (RFC 6455 and its registry)
NUMBER = re.compile(rb'"n":(\d+)')
CUT = (OSError, EOFError, asyncio.TimeoutError)


@dataclass
class Viewer:
    """One viewer of one stream. path: of the live view; mint: the path that gives the token; numbers: what it saw.

    stops_at_end: takes the proper end of an answer for the end of the stream, as Go's r3labs/sse and a plain fetch do.
    outages: seconds from each cut to being connected again; ended: the status or close code by which it was told to
    stay away.
    """

    contract: str
    path: str
    stream: str
    mint: str | None = None
    websocket: bool = False
    resumes: bool = True
    stops_at_end: bool = False
    numbers: list[int] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int | None = None
    cursor: str = ""
    retry_seconds: float = FIRST_RETRY_SECONDS
    _cut_at: float | None = None

    async def follow(self, server: RunningServer, gate: asyncio.Semaphore) -> None:
        """Watch until told to stay away. gate: how many may connect at once."""
        while self.ended is None:
            try:
                await self._watch(server, gate)
            except CUT as error:
                if self._cut_at is None:
                    self._cut_at = time.monotonic()
                else:
                    self.refusals.append(repr(error))
            if self.ended is None:
                await asyncio.sleep(self.retry_seconds)

    async def _watch(self, server: RunningServer, gate: asyncio.Semaphore) -> None:
        async with gate:
            key = server.workspace_key
            if self.mint is not None:
                key = json.loads(await self._ask(server, "POST", self.mint, key))["token"]
            connection = await Connection.open(server, "GET", self.path, self._headers(key))
        try:
            if connection.status in (200, 101):
                await self._read(connection)
            elif connection.status in (204, 400, 404):
                self.ended = connection.status
            else:
                self.refusals.append(str(connection.status))
        finally:
            connection.close()
        if self._cut_at is None:
            self._cut_at = time.monotonic()

    def _headers(self, key: str) -> dict[str, str]:
        found = {"Authorization": f"Bearer {key}"}
        if self.cursor and self.resumes:
            found["Last-Event-ID"] = self.cursor
        if self.websocket:
            secret = base64.b64encode(os.urandom(16)).decode()
            found |= {"Connection": "Upgrade", "Upgrade": "websocket"}
            found |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": secret}
        return found

    async def _ask(self, server: RunningServer, method: str, path: str, key: str) -> bytes:
        connection = await Connection.open(server, method, path, {"X-API-Key": key, "Content-Length": "0"})
        try:
            if connection.status != 200:
                raise ConnectionError(f"{method} {path}: {connection.status}")
            return await asyncio.wait_for(connection.reader.readexactly(connection.length), ANSWER_SECONDS)
        finally:
            connection.close()

    async def _read(self, connection: Connection) -> None:
        if self._cut_at is not None:
            self.outages.append(time.monotonic() - self._cut_at)
            self._cut_at = None
        self.opened.set()
        if self.websocket:
            await self._read_websocket(connection)
        else:
            async with aclosing(connection.lines()) as lines:
                async for line in lines:
                    self._take(line)
            if self.stops_at_end:
                self.ended = connection.status
        self._cut_at = time.monotonic()

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b": ")
        if name == b"id":
            self.cursor = value.decode()
        elif name == b"retry":
            self.retry_seconds = int(value) / 1000
        elif name == b"data" and (found := NUMBER.search(value)):
            self.numbers.append(int(found[1]))

    async def _read_websocket(self, connection: Connection) -> None:
        while True:
            first, length = await connection.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await connection.reader.readexactly(2))
            payload = await connection.reader.readexactly(length)
            if first & 15 == 1 and (found := NUMBER.search(payload)):
                self.numbers.append(int(found[1]))
            elif first & 15 == 9:
                connection.writer.write(b"\x8a" + bytes([0x80 | len(payload)]) + bytes(4) + payload)  # a masked pong
            elif first & 15 == 8:
                connection.writer.write(b"\x88\x80" + bytes(4))
                code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                if code not in COME_BACK:
                    self.ended = code
                self.retry_seconds = random.uniform(0.5, 3.0)  # a WebSocket has no `retry:`
                return


@dataclass
class Connection:
    """One request and the head of its answer; the rest is still to be read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int
    headers: dict[str, str]

    @classmethod
    async def open(cls, server: RunningServer, method: str, path: str, headers: dict[str, str]) -> Connection:
        """Ask; returns when the head of the answer is there."""
        address = urlsplit(server.base_url)
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address.hostname, address.port), ANSWER_SECONDS)
        try:
            lines = [f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", *(f"{n}: {v}" for n, v in headers.items())]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_SECONDS)
        except BaseException:
            writer.close()
            raise
        first, *rest = head.decode().rstrip("\r\n").split("\r\n")
        parts = (line.partition(": ") for line in rest)
        return cls(reader, writer, int(first.split(" ")[1]), {name.lower(): value for name, _, value in parts})

    @property
    def length(self) -> int:
        return int(self.headers["content-length"])

    def close(self) -> None:
        self.writer.close()

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of a chunked body, to its end."""
        rest = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            *whole, rest = (rest + (await self.reader.readexactly(size + 2))[:-2]).split(b"\n")
            for line in whole:
                yield line


async def until(look: Callable[[], object], seconds: float, about: Callable[[], str]) -> None:
    """Wait until `look` is true."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds} s: {about()}"
        await asyncio.sleep(0.1)
