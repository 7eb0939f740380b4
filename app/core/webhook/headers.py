"""Which headers a customer may add to webhooks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from app.core.webhook.signing import sign
from app.core.wire import trace
from app.core.wire.envelope import traceparent_of

USER_AGENT = "Twofold/1.0 (webhooks)"
# What a request has besides, unless the customer's headers say otherwise.
CONTENT_TYPE = ("Content-Type", "application/json")
DEFAULTS = (CONTENT_TYPE, ("User-Agent", USER_AGENT), ("Accept", "*/*"))
# A place in the feed at or before the event, for endpoints that want it.
FEED_CURSOR = "webhook-feed-cursor"
MAX_HEADERS = 20
# Names and values with their separators, as on the wire. Many servers refuse a request head over 8 KiB: half is theirs.
MAX_BYTES = 4096
_SEPARATOR_BYTES = 4  # ": " and CR LF

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
# A value, for the description: printable latin-1 that neither begins nor ends with a space.
VALUE = r"[\x21-\x7e\xa1-\xff](?:[\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa1-\xff])?"
# Printable latin-1: anything else could end the line, or is not the same text for sender and receiver.
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\xff]")

_FRAMING = "belongs to the connection, which Twofold manages"
_BODY = "describes the exchange, which Twofold decides"
REFUSED = {
    "host": "is taken from the URL",
    "content-length": _FRAMING,
    "transfer-encoding": _FRAMING,
    "connection": _FRAMING,
    "keep-alive": _FRAMING,
    "expect": _FRAMING,
    "te": _FRAMING,
    "trailer": _FRAMING,
    "upgrade": _FRAMING,
    "http2-settings": _FRAMING,
    "content-encoding": _BODY,
    "accept-encoding": _BODY,
    "cookie": "is not for servers to send: use Authorization or a header of your own",
}
REFUSED_PREFIXES = {
    "proxy-": "is for proxies, and none is used",
    "webhook-": "is set by Twofold: it carries the id, the time and the signature",
}


def name_pattern() -> str:
    """A regular expression for the names that `check_headers` takes, to be matched as a whole. It is written without
    flags, as JSON Schema needs it, so it spells out capitals."""
    refused = "|".join(map(_any_spelling, REFUSED))
    prefixes = "|".join(map(_any_spelling, REFUSED_PREFIXES))
    return f"(?!(?:{refused})$)(?!{prefixes}){_TOKEN.pattern}"


def check_headers(headers: Mapping[str, object]) -> list[tuple[str, str]]:
    """What is wrong with an endpoint's extra headers, as (name, reason); empty when they may be sent.

    The name is ``""`` when the reason concerns all of them.
    """
    problems: list[tuple[str, str]] = []
    if len(headers) > MAX_HEADERS:
        problems.append(("", f"at most {MAX_HEADERS} headers, these are {len(headers)}"))
    size = sum(len(name) + len(str(value)) + _SEPARATOR_BYTES for name, value in headers.items())
    if size > MAX_BYTES:
        problems.append(("", f"at most {MAX_BYTES} bytes of names and values, these are {size}"))
    seen: set[str] = set()
    for name, value in headers.items():
        if reason := _name_problem(name, seen) or _value_problem(value):
            problems.append((name, reason))
        seen.add(name.lower().replace("_", "-"))
    return problems


def _any_spelling(name: str) -> str:
    """A pattern for a header's name in capitals or not, with hyphens or underscores."""
    return "".join(
        "[-_]" if letter == "-" else f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in name
    )


def _name_problem(name: str, seen: set[str]) -> str | None:
    # Many servers read X_Y and X-Y as the same header (CGI, RFC 3875, 4.1.18): what is refused is refused as its twin.
    lower = name.lower().replace("_", "-")
    if not _TOKEN.fullmatch(name):
        return "is not a header name: use letters, digits and hyphens"
    if lower in seen:
        return "is given twice: header names do not distinguish capitals, nor many servers _ from -"
    if lower in REFUSED:
        return REFUSED[lower]
    return next((reason for prefix, reason in REFUSED_PREFIXES.items() if lower.startswith(prefix)), None)


def _value_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return "must have a text as its value"
    if not value.strip():
        return "must not be empty"
    if value != value.strip():
        return "must not start or end with a space: it would be lost on the way"
    if _NOT_PRINTABLE.search(value):
        return "must have printable latin-1 characters only: no line breaks, tabs or emoji"
    return None


def signed(
    own: Mapping[str, str],
    secrets: Sequence[str],
    id: str,
    delivery_id: str,
    sent_at: datetime,
    body: bytes,
    envelope: bytes | None = None,
) -> list[tuple[str, str]]:
    """The headers of one attempt: the customer's own, the three of Standard Webhooks, and `traceparent` where the event
    belongs to a trace. secrets: newest first. id: of the event, or of a batch. body: the envelope, if that is not given
    by itself; empty for that of several events, which belong to no trace together."""
    timestamp = int(sent_at.timestamp())
    traced = []
    if traceparent := traceparent_of(body if envelope is None else envelope):
        own = {name: value for name, value in own.items() if name.lower() != "traceparent"}
        traced = [("traceparent", trace.child(traceparent, delivery_id, sent_at))]
    return [
        *own.items(),
        *traced,
        ("webhook-id", id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", sign(secrets, id, timestamp, body)),
    ]
