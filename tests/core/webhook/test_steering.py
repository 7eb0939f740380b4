"""What a receiver may ask for with the header webhook-delivery, and what of it is followed."""

from __future__ import annotations

import pytest

from app.core.webhook.steering import ABORT, DISABLE, LONGEST_VALUE, Asked, asked


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("webhook-delivery", "disable")], DISABLE),
        ([("Webhook-Delivery", " Disable\t")], DISABLE),
        ([("WEBHOOK-DELIVERY", "abort-message")], ABORT),
        ([("webhook-delivery", "abort-message, disable")], DISABLE),
        ([("webhook-delivery", "abort-message"), ("webhook-delivery", "disable")], DISABLE),
        ([("webhook-delivery", "something, abort-message")], ABORT),
        ([("webhook-delivery", "disabled")], None),
        ([("webhook-delivery", "")], None),
        ([("webhook-delivery", "disable" + " " * LONGEST_VALUE)], None),
        ([("x-webhook-delivery", "disable"), ("webhook-id", "disable")], None),
        ([], None),
    ],
)
def test_only_the_two_words_ask_for_anything(headers: list[tuple[str, str]], expected: Asked | None) -> None:
    assert asked(headers) == expected
