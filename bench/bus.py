"""Announcements put on the product's bus directly, faster than events can be accepted.

The one place that knows what the product keeps in Redis and in `streams.last_seq`: an announcement is made from a real
one of the same stream, with the seqs and the time that follow. PostgreSQL is told of the seqs first, once for all
streams: a hub that sees a stream further on than PostgreSQL takes it for restored from a backup.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis

from bench.contenders.product import Product
from bench.programs import BenchError, waited
from bench.stand import sql

ANNOUNCED_SECONDS = 20.0
SEQ = re.compile(rb'"seq":(\d+)')
TIME = re.compile(rb'("sent_us":)\d{16}')
ADVANCE = "UPDATE streams SET last_seq = last_seq + 1 WHERE id = ANY(%s)"


@dataclass
class Entry:
    """The last announcement of a stream."""

    shard: bytes
    fields: dict[bytes, bytes]

    def next(self, sent_us: int) -> bytes:
        """XADD of the announcement that follows, as Redis reads it."""
        seq = int(self.fields[b"q"]) + 1
        body = SEQ.sub(b'"seq":%d' % seq, self.fields[b"b"], count=1)
        body = TIME.sub(rb"\g<1>%d" % sent_us, body, count=1)
        self.fields |= {b"q": b"%d" % seq, b"b": body}
        words = [b"XADD", self.shard, b"MAXLEN", b"~", b"4096", b"*"]
        words += [word for pair in self.fields.items() for word in pair]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Bus:
    """Puts announcements of streams that have one already."""

    def __init__(self, product: Product, streams: int) -> None:
        self._database_url = product.database_url
        with redis.Redis.from_url(product.redis_url) as client:
            # Announcements follow the commits at their leisure.
            waited(lambda: len(_last_entries(client, product.workspace_id)) >= streams, ANNOUNCED_SECONDS, 0.5)
            entries = _last_entries(client, product.workspace_id)
        self._entries, self._ids = list(entries.values()), [int(stream) for stream in entries]
        if len(self._entries) < streams:
            raise BenchError(f"the bus tells of {len(self._entries)} of {streams} streams")
        address = urlsplit(product.redis_url)
        self._socket = socket.create_connection((address.hostname, address.port))
        for command in (f"AUTH {address.password}", f"SELECT {address.path[1:]}"):
            self._socket.sendall(f"{command}\r\n".encode())
            if not self._socket.recv(100).startswith(b"+OK"):
                raise BenchError(f"Redis refused {command.split()[0]}")

    def put(self, rate: float, seconds: float) -> int:
        """One event to each stream in turn, `rate` a second; returns how many."""
        size = len(self._entries)
        turns = max(1, round(rate * seconds / size))
        began = time.monotonic()
        for turn in range(turns):
            self.put_one_each(began + turn * size / rate, size / rate)
        return turns * size

    def put_one_each(self, begin: float = 0.0, over_seconds: float = 0.0) -> int:
        """One event to each stream, spread over some seconds from `begin` (monotonic); returns how many."""
        sql(self._database_url, ADVANCE, (self._ids,))
        parts = max(1, round(over_seconds / 0.01))  # in portions, one each 10 ms
        for part in range(parts):
            if (early := begin + part * over_seconds / parts - time.monotonic()) > 0:
                time.sleep(early)
            portion = self._entries[part::parts]
            now = time.time_ns() // 1000
            self._socket.sendall(b"".join(entry.next(now) for entry in portion))
            self._take_answers(len(portion))
        return len(self._entries)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _take_answers(self, count: int) -> None:
        """Each XADD is answered with two lines: a length and an id."""
        seen = 0
        while seen < 2 * count:
            data = self._socket.recv(1 << 16)
            if not data or data.startswith(b"-"):
                raise BenchError(f"Redis refused an announcement: {data[:200]!r}")
            seen += data.count(b"\n")


def _last_entries(client: redis.Redis, workspace_id: str) -> dict[bytes, Entry]:
    """Of each stream of a workspace, by the stream's row id."""
    found: dict[bytes, Entry] = {}
    for shard in client.scan_iter(match="bus:*", _type="stream"):
        if shard.startswith(b"bus:control"):
            continue
        entries: Any = client.xrange(shard)
        for _, fields in entries:
            if b"b" in fields and workspace_id.encode() in fields[b"b"]:
                found[fields[b"s"]] = Entry(shard, dict(fields))
    return found
