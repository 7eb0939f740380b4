"""What an endpoint may be: the rules for its fields that go beyond the form of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core import ids
from app.core.event import names
from app.core.event.filters.reading import check_filter
from app.core.problem import Complaint, complaint, invalid_fields
from app.core.webhook import addresses, retry, signing
from app.core.webhook.headers import check_headers
from app.settings import Settings

LONGEST_TIMEOUT_SECONDS = 60  # the most that SEND_TOTAL_SECONDS may be
MOST_DELAYS = 30  # attempts that are logged of each delivery
LONGEST_DELAY_SECONDS = 30 * 86_400  # the most that DELIVERY_WINDOW_SECONDS may be
MOST_CHANNELS = 100  # as of the other filters: matching is linear in them, for every event
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
    if complaints:
        raise invalid_fields(complaints)


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
