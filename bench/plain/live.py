"""Live streams: one pub/sub connection a process, one queue a connection."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import redis
from redis.client import PubSub

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
MOST_WAITING = 1000  # frames of one connection; the slowest lose theirs
RETRY_SECONDS = 0.5

_client = redis.Redis.from_url(os.environ["REDIS_URL"])
_queues: dict[str, set[queue.Queue[bytes]]] = defaultdict(set)
_lock = threading.Lock()
_listening = False


def publish(names: dict[str, str], event: dict[str, Any]) -> None:
    """Tell whoever is watching."""
    _client.publish(_channel(**names), json.dumps(event, separators=(",", ":")))


def subscribe(workspace: str, kind: str, name: str) -> queue.Queue[bytes]:
    """A queue in which this stream's frames will be."""
    global _listening
    with _lock:
        if not _listening:
            threading.Thread(target=_listen, daemon=True).start()
            _listening = True
    found: queue.Queue[bytes] = queue.Queue(MOST_WAITING)
    _queues[_channel(workspace, kind, name)].add(found)
    return found


def frames(found: queue.Queue[bytes], workspace: str, kind: str, name: str) -> Iterator[bytes]:
    """The body of the answer, until the viewer goes."""
    channel = _channel(workspace, kind, name)
    try:
        yield b": hello\n\n"
        while True:
            try:
                yield found.get(timeout=HEARTBEAT_SECONDS)
            except queue.Empty:
                yield b": keepalive\n\n"
    finally:
        _queues[channel].discard(found)


def _listen() -> None:
    while True:
        try:
            subscription: PubSub = _client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            subscription.psubscribe("live:*")
            for message in subscription.listen():  # type: ignore[no-untyped-call]
                _deal(message["channel"].decode(), message["data"])
        except redis.RedisError as error:
            log.warning("live: %s", error)
            time.sleep(RETRY_SECONDS)


def _deal(channel: str, data: bytes) -> None:
    if channel not in _queues:
        return
    event = json.loads(data)
    frame = b"id: %d\nevent: %s\ndata: %s\n\n" % (event["seq"], event["type"].encode(), data)
    for waiting in list(_queues[channel]):
        try:
            waiting.put_nowait(frame)
        except queue.Full:
            continue


def _channel(workspace: str, kind: str, name: str) -> str:
    return f"live:{workspace}:{kind}:{name}"
