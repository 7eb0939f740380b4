"""The spans of a delivery's attempt: the claim that took it, and the request, in the trace that its event names."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from app.core.webhook.retry import Outcome
from app.core.wire import trace
from app.core.wire.envelope import traceparent_of
from app.delivery.attempts import Exchange
from app.tracing import Times, Tracing

CLAIM, ATTEMPT = "twofold claim", "twofold attempt"


def add_spans(tracing: Tracing, exchange: Exchange) -> None:
    """Of an exchange whose event belongs to a trace; of others nothing. The attempt's span is the parent that its
    request has named, so a receiver's spans lie below it."""
    traceparent = traceparent_of(exchange.claimed.body)
    if not traceparent:
        return
    claimed, started = exchange.claimed, _nanoseconds(exchange.started_at)
    own = trace.child(traceparent, claimed.id, exchange.started_at)
    names = {"twofold.delivery.id": claimed.id, "twofold.endpoint.id": claimed.endpoint_id}
    waited = Times(min(_nanoseconds(claimed.claimed_at), started), started)
    tracing.add(CLAIM, "internal", traceparent, waited, names)
    sent = Times(started, _nanoseconds(exchange.ended_at))
    failed = None if exchange.outcome == Outcome.SUCCESS else exchange.error or str(exchange.outcome)
    tracing.add(ATTEMPT, "client", traceparent, sent, names | _attributes(exchange), error=failed, own=own)


def _attributes(exchange: Exchange) -> dict[str, Any]:
    """By the semantic conventions for HTTP clients, where they have a name. The URL's path and query may hold what the
    customer keeps secret, so they stay here."""
    claimed, url = exchange.claimed, urlsplit(exchange.claimed.address.url)
    return {
        "http.request.method": "POST",
        "server.address": url.hostname,
        "http.response.status_code": exchange.status_code,
        "error.type": None if exchange.outcome == Outcome.SUCCESS else str(exchange.outcome),
        "twofold.workspace.id": claimed.workspace_id,
        "twofold.event.id": claimed.event_id,
        "twofold.attempt.id": exchange.attempt_id,
        "twofold.attempt.trigger": claimed.trigger,
    }


def _nanoseconds(moment: datetime) -> int:
    """Since 1970, exact to the microsecond."""
    return round(moment.timestamp() * 1_000_000) * 1000
