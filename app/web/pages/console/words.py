"""Numbers and times in words, for the templates. Pure but for being registered."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint

from app.core.webhook import addresses
from app.delivery.deliveries import Recovered

api = Blueprint("words", __name__)

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# outcome or status -> what a person reads
NAMES = {
    "http_error": "HTTP error",
    "dns_error": "name not found",
    "connect_error": "no connection",
    "tls_error": "TLS error",
    "blocked_address": "blocked address",
    "protocol_error": "protocol error",
}
# the ?done= of a redirect -> what has happened
DONE = {
    "retried": "The delivery is attempted again now.",
    "ended-meanwhile": "The delivery has arrived or was given up meanwhile. It is not sent again.",
    "skipped": "The stream goes on without that delivery, which is attempted further and arrives late.",
    "consumer-moved": "The consumer goes on from there. Whoever was reading has lost the lease.",
    "consumer-deleted": "The consumer is forgotten.",
    "paused": "The endpoint is paused. What was pending for it is cancelled.",
    "enabled": "The endpoint is enabled.",
    "revoked": "The key is revoked. It is refused from now on.",
    "session-ended": "The session is ended.",
    "user-disabled": "The user is disabled and signed out everywhere.",
    "user-enabled": "The user may sign in again.",
    "disconnected": "The connection ends within two seconds. A client that still wants its stream will be back.",
    "bulk-cancelled": "The bulk retry is stopped. What it has made pending is still delivered.",
    "endpoint-saved": "The endpoint is saved.",
    "endpoint-deleted": "The endpoint is deleted. What was pending for it is cancelled.",
    "tested": "A test event is on its way. Its delivery is the first below in a moment; load the page again.",
    "recovered": "What failed or was missed since then is delivered again.",
    "recovered-part": "A part of it is delivered again, as much as one step may take. Recover once more to go on.",
    "recovered-none": "Nothing had failed or was missed since then.",
    "role-changed": "The user has another role, and is signed out everywhere.",
}


@api.app_template_filter("span")
def span(seconds: float | None) -> str:
    """A duration by its two largest units: `3 d 4 h`, `2 min 5 s`, `0.4 s`."""
    if seconds is None:
        return "–"
    if abs(seconds) < 10:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    left = int(abs(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts)


@api.app_template_filter("ago")
def ago(moment: datetime, now: datetime) -> str:
    """How long before `now` (or after) a moment is: `3 min ago`, `in 2 h`. One unit, the largest."""
    seconds = (now - moment).total_seconds()
    size, unit = next((one for one in _UNITS if abs(seconds) >= one[0]), (1, "s"))
    words = f"{abs(seconds) / size:.0f} {unit}"
    if abs(seconds) < 1:
        return "now"
    return f"{words} ago" if seconds > 0 else f"in {words}"


@api.app_template_filter("utc")
def utc(moment: datetime) -> str:
    """A moment to the second, for reading."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


@api.app_template_filter("exact")
def exact(moment: datetime) -> str:
    """A moment to the millisecond, for comparing."""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


@api.app_template_filter("ms")
def milliseconds(value: int | None) -> str:
    """Milliseconds, as seconds when there are many."""
    if value is None:
        return "–"
    return f"{value:,} ms" if value < 10_000 else f"{value / 1000:.1f} s"


@api.app_template_filter("capped")
def capped(count: int, most: int) -> str:
    """A count that stopped at a bound."""
    return f"{count:,}+" if count >= most else f"{count:,}"


@api.app_template_filter("no_inner_addresses")
def no_inner_addresses(text: str | None) -> str:
    """A text that a customer may read: without addresses of our own network."""
    return addresses.without_blocked(text or "")


@api.app_template_filter("named")
def named(code: str | None) -> str:
    """An outcome or status as a person says it."""
    return NAMES.get(code or "", (code or "–").replace("_", " "))


@api.app_template_filter("short")
def short(id: str) -> str:
    """The end of an id, where ids of the same moment differ."""
    return f"…{id[-6:]}" if len(id) > 14 else id


def recovered(found: Recovered) -> str:
    """Which of DONE a recovery has come to."""
    if not found.complete:
        return "recovered-part"
    return "recovered" if found.count else "recovered-none"


def done(word: str) -> str:
    """What a redirect says has happened; "" for a word that is none of ours."""
    return DONE.get(word, "")
