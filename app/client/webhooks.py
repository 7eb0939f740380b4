"""Check a webhook that Twofold sent, and read the event in it."""

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
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp, signed = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise WebhookVerificationError(f"the {error.args[0]} header is missing") from None
    secrets = [secret] if isinstance(secret, str) else secret
    clock = time.time() if now is None else now
    signatures.verify(secrets, id, timestamp, signed, body, now=clock, tolerance_seconds=tolerance_seconds)
    try:
        event = json.loads(body)
    except ValueError as error:
        raise WebhookVerificationError(f"the signature is valid, but the body is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise WebhookVerificationError("the signature is valid, but the body is not a JSON object")
    return event
