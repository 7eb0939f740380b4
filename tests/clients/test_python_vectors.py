"""The Python package gives every shared vector its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clients import make_vectors
from twofold import SecretError, WebhookVerificationError, verify_batch, verify_webhook
from twofold.parse import EventParser
from twofold.signatures import verify

VECTORS = json.loads(make_vectors.FILE.read_text())


def named(kind: str) -> list[Any]:
    return [pytest.param(one, id=one["name"]) for one in VECTORS[kind]]


@pytest.mark.parametrize("case", named("signatures"))
def test_a_signature_is_judged(case: dict[str, Any]) -> None:
    id, timestamp, signed = (case["headers"][f"webhook-{name}"] for name in ("id", "timestamp", "signature"))

    def judge() -> None:
        verify(
            case["secrets"],
            id,
            timestamp,
            signed,
            case["body"].encode(),
            now=case["now"],
            tolerance_seconds=case["tolerance_seconds"],
        )

    if case["valid"]:
        judge()
    else:
        with pytest.raises(WebhookVerificationError):
            judge()


@pytest.mark.parametrize("secret", VECTORS["malformed_secrets"])
def test_a_malformed_secret_is_named(secret: str) -> None:
    case = VECTORS["signatures"][0]
    with pytest.raises(SecretError):
        verify_webhook(secret, case["headers"], case["body"].encode(), now=case["now"])


@pytest.mark.parametrize("case", named("envelopes"))
def test_an_envelope_is_read(case: dict[str, Any]) -> None:
    event = verify_webhook(case["secret"], case["headers"], case["body"].encode(), now=case["now"])
    members = ("id", "type", "timestamp", "workspace_id", "stream", "seq")
    assert {name: event[name] for name in members} == {name: case[name] for name in members}
    assert event["data"] == json.loads(case["data"])
    assert event.get("metadata") == json.loads(case.get("metadata", "null"))


@pytest.mark.parametrize("case", named("batches"))
def test_a_batch_is_unpacked(case: dict[str, Any]) -> None:
    def ids() -> list[str]:
        events = verify_batch(case["secret"], case["headers"], case["body"].encode(), now=case["now"])
        return [event["id"] for event in events]

    if case["valid"]:
        assert ids() == case["ids"]
    else:
        with pytest.raises(WebhookVerificationError):
            ids()


def test_whoever_expects_no_batch_is_told_what_reads_one() -> None:
    case = VECTORS["batches"][0]
    with pytest.raises(WebhookVerificationError, match="use verify_batch"):
        verify_webhook(case["secret"], case["headers"], case["body"].encode(), now=case["now"])


@pytest.mark.parametrize("case", named("streams"))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10**6])
def test_a_stream_is_read_in_pieces_of_any_size(case: dict[str, Any], size: int) -> None:
    parser, text = EventParser(), case["text"].encode()
    events = [event for at in range(0, len(text), size) for event in parser.feed(text[at : at + size])]
    assert [{"type": one.type, "data": one.data, "id": one.id} for one in events] == case["events"]
    assert (parser.last_event_id, parser.retry_ms) == (case["last_event_id"], case["retry_ms"])
