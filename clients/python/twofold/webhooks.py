"""Check a webhook that Twofold sent, and read the event in it, or the events."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import signatures
from .signatures import WebhookVerificationError


def verify_webhook(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: float | None = None,
    tolerance_seconds: float = signatures.TOLERANCE_SECONDS,
) -> dict[str, Any]:
    """The event of a genuine webhook, as a dict with id, type, timestamp, workspace_id, stream, seq and data.

    ``secret`` is the endpoint's ``whsec_…`` secret or ``whpk_…`` public key, or several during a rotation. ``headers``
    are the request's (names in any case), ``body`` its bytes exactly as received, ``now`` Unix seconds (the clock).
    The id is the same at every repeat of an event: keep the ids that were handled. Raises WebhookVerificationError, and
    SecretError (a ValueError) when the secret itself is malformed.
    """
    event = _verified(secret, headers, body, now, tolerance_seconds)
    if not isinstance(event, dict):
        what = "an array: use verify_batch" if isinstance(event, list) else "not a JSON object"
        raise WebhookVerificationError(f"the signature is valid, but the body is {what}")
    return event


def verify_batch(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: float | None = None,
    tolerance_seconds: float = signatures.TOLERANCE_SECONDS,
) -> list[dict[str, Any]]:
    """The events of a genuine webhook, in order: those of a batch, or the one of a webhook without.

    The rest is as of verify_webhook. Each event has an id of its own, the same at every repeat; the one in the headers
    is the batch's. A 2xx status acknowledges all of them, 200 with the body `{"accepted": n}` the first n.
    """
    parsed = _verified(secret, headers, body, now, tolerance_seconds)
    events = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(event, dict) for event in events):
        raise WebhookVerificationError("the signature is valid, but the body does not hold JSON objects")
    return events


def _verified(
    secret: str | Sequence[str], headers: Mapping[str, str], body: bytes, now: float | None, tolerance_seconds: float
) -> Any:
    """The parsed body of a genuine webhook. Raises as verify_webhook."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp, signed = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise WebhookVerificationError(f"the {error.args[0]} header is missing") from None
    secrets = [secret] if isinstance(secret, str) else secret
    clock = time.time() if now is None else now
    signatures.verify(secrets, id, timestamp, signed, body, now=clock, tolerance_seconds=tolerance_seconds)
    try:
        return json.loads(body)
    except ValueError as error:
        raise WebhookVerificationError(f"the signature is valid, but the body is not JSON: {error}") from error
