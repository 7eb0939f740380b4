"""What an endpoint may be: the rules for its fields that go beyond the form of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core import ids
from app.core.event import names
from app.core.event.filters.reading import check_filter
from app.core.problem import MOST_COMPLAINTS, Complaint, complaint, invalid_fields
from app.core.webhook import addresses, batches, retry, signing
from app.core.webhook.headers import check_headers
from app.settings import Settings

LONGEST_TIMEOUT_SECONDS = 60  # the most that SEND_TOTAL_SECONDS may be
MOST_DELAYS = 30  # attempts that are logged of each delivery
LONGEST_DELAY_SECONDS = 30 * 86_400  # the most that DELIVERY_WINDOW_SECONDS may be
MOST_CHANNELS = 100  # as of the other filters: matching is linear in them, for every event
# The numbers of a batch, each with its least and its most.
BATCH_BOUNDS = {"max_events": (1, batches.MOST_EVENTS), "max_wait_ms": (0, batches.LONGEST_WAIT_MS)}
LONGEST_SECRET = len(signing.SECRET_PREFIX) + 88  # 64 bytes as base64


def check(settings: Settings, wanted: Mapping[str, Any]) -> None:
    """Raises Problem invalid for a URL or header that could never work, and for whatever else is against the rules."""
    complaints: list[Complaint] = []
    if "url" in wanted:
        complaints += [
            complaint("url", reason) for reason in addresses.check_url(wanted["url"], settings.allow_subnets)
        ]
    for name, reason in check_headers(wanted.get("headers") or {}):
        complaints.append(complaint(f"headers.{name}" if name else "headers", reason))
    if (uid := wanted.get("uid")) is not None and uid.startswith(f"{ids.ENDPOINT}_"):
        complaints.append(complaint("uid", f"must not start with {ids.ENDPOINT}_, the prefix of our own ids"))
    complaints += _of_metadata(wanted.get("metadata") or {})
    if (secret := wanted.get("secret")) is not None and (weakness := signing.why_weak(secret)):
        complaints.append(complaint("secret", weakness))
    if (delays := wanted.get("retry_delays_seconds")) is not None:
        problems = retry.check_schedule(delays, settings.delivery_window_seconds)
        complaints += [complaint("retry_delays_seconds", words) for words in problems]
    if (content := wanted.get("content_filter")) is not None:
        complaints += check_filter(content)
    if (batch := wanted.get("batch")) is not None:
        complaints += _of_batch(batch)
    if complaints:
        raise invalid_fields(complaints)


def _of_batch(batch: Mapping[str, Any]) -> list[Complaint]:
    found = []
    for name, value in batch.items():
        if name not in BATCH_BOUNDS:
            found.append(complaint(f"batch.{name}", f"unknown field; a batch has {' and '.join(BATCH_BOUNDS)}"))
            continue
        least, most = BATCH_BOUNDS[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most or value != int(value):
            found.append(complaint(f"batch.{name}", f"must be a whole number from {least} to {most}"))
    return found[: MOST_COMPLAINTS + 1]


def _of_metadata(metadata: Mapping[str, str]) -> list[Complaint]:
    if len(metadata) > names.MOST_METADATA:
        return [complaint("metadata", f"must have at most {names.MOST_METADATA} members, this has {len(metadata)}")]
    found = []
    for name, value in metadata.items():
        if not names.METADATA_NAME.fullmatch(name):
            found.append(complaint(f"metadata.{name}", names.METADATA_NAME_HINT))
        if len(value) > names.LONGEST_METADATA:
            words = f"must have at most {names.LONGEST_METADATA} letters"
            found.append(complaint(f"metadata.{name}", words))
    return found
