"""The requests that the load programs send: templates with places for time, number and stream."""

from __future__ import annotations

import json

KIND = "bench"
TYPE = "bench.event"
# An event's envelope with it is some 280 bytes, as in the measurements of peers.
FILLING = "Thank you for calling. How may I help you today?"


def event(stream: str = "s@STREAM@") -> str:
    """One event as JSON; its stream is a template, too."""
    return (
        f'{{"stream":{{"kind":"{KIND}","id":"{stream}"}},"type":"{TYPE}",'
        f'"data":{{"sent_us":@TIME@,"number":@NUMBER@,"text":{json.dumps(FILLING)}}}}}'
    )


def request(method: str, path: str, key: str, body: str = "", content_type: str = "application/json") -> bytes:
    """A request's bytes. Content-Length is added by the program that fills the places."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += [f"Content-Type: {content_type}"] if body else []
    return "\r\n".join([*lines, "", body]).encode()


def post_event(key: str, path: str = "/v1/events", stream: str = "s@STREAM@") -> bytes:
    """One event a request."""
    return request("POST", path, key, event(stream))


def post_lines(key: str, count: int, stream: str = "s@STREAM@") -> bytes:
    """`count` events a request, one a line."""
    return request("POST", "/v1/events", key, "\n".join([event(stream)] * count), "application/x-ndjson")


def watch(path: str, key: str) -> bytes:
    """The opening of a live stream, as an EventSource does it."""
    head = request("GET", path, key)
    return head.replace(b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n")


def websocket(path: str, key: str) -> bytes:
    """The opening of a WebSocket."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}", "Connection: Upgrade"]
    lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    return "\r\n".join([*lines, "", ""]).encode()
