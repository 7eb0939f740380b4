"""What a receiver calls: verify_webhook."""

from __future__ import annotations

import time

import pytest

from app.client import SecretError, WebhookVerificationError, verify_webhook
from app.core.webhook.signing import new_secret, new_signing_key, public_key, sign

SECRET, OTHER = new_secret(b"s" * 32), new_secret(b"o" * 32)
KEY = new_signing_key(b"k" * 32)
NOW = 1_795_000_000
BODY = '{"id":"evt_1","type":"call.ended","data":{"n":12345678901234567890,"s":"é😀"}}'.encode()


def headers_for(body: bytes, timestamp: int = NOW, secrets: tuple[str, ...] = (SECRET,)) -> dict[str, str]:
    return {
        "Webhook-Id": "evt_1",
        "WEBHOOK-TIMESTAMP": str(timestamp),
        "webhook-signature": sign(secrets, "evt_1", timestamp, body),
    }


@pytest.mark.parametrize(
    ("secret", "signed_with"),
    [
        (SECRET, (SECRET,)),
        ([SECRET], (SECRET,)),
        ([OTHER, SECRET], (SECRET,)),
        (SECRET, (OTHER, SECRET)),
        (public_key(KEY), (SECRET, KEY)),
    ],
)
def test_a_genuine_webhook_becomes_its_event(secret: str | list[str], signed_with: tuple[str, ...]) -> None:
    event = verify_webhook(secret, headers_for(BODY, secrets=signed_with), BODY, now=NOW)
    assert event == {"id": "evt_1", "type": "call.ended", "data": {"n": 12345678901234567890, "s": "é😀"}}


def test_without_a_time_the_clock_counts() -> None:
    assert verify_webhook(SECRET, headers_for(BODY, int(time.time())), BODY)["id"] == "evt_1"
    with pytest.raises(WebhookVerificationError, match="s in the future"):
        verify_webhook(SECRET, headers_for(BODY, int(time.time()) + 10_000), BODY)


@pytest.mark.parametrize("missing", ["Webhook-Id", "WEBHOOK-TIMESTAMP", "webhook-signature"])
def test_a_missing_header_is_named(missing: str) -> None:
    headers = headers_for(BODY)
    del headers[missing]
    with pytest.raises(WebhookVerificationError, match=missing.lower()):
        verify_webhook(SECRET, headers, BODY, now=NOW)


@pytest.mark.parametrize(
    ("secret", "body", "now", "words"),
    [
        (OTHER, BODY, NOW, "no signature matches"),
        (SECRET, BODY + b"\n", NOW, "no signature matches"),
        (SECRET, BODY, NOW + 301, "301 s old"),
    ],
)
def test_what_is_not_genuine_is_refused_with_the_reason(secret: str, body: bytes, now: int, words: str) -> None:
    with pytest.raises(WebhookVerificationError, match=words):
        verify_webhook(secret, headers_for(BODY), body, now=now)


@pytest.mark.parametrize(
    ("body", "words"),
    [(body, "JSON") for body in (b"", b"not json", b"\xff", b'"text"', b"9" * 5000)] + [(b"[]", "use verify_batch")],
)
def test_signed_but_not_an_event_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(WebhookVerificationError, match=words):
        verify_webhook(SECRET, headers_for(body), body, now=NOW)


def test_the_tolerance_can_be_set() -> None:
    assert verify_webhook(SECRET, headers_for(BODY), BODY, now=NOW + 3000, tolerance_seconds=3600)


def test_a_malformed_secret_is_the_programmers_error() -> None:
    with pytest.raises(SecretError, match="whsec_"):
        verify_webhook("secret", headers_for(BODY), BODY, now=NOW)
