"""Signing: the published vectors, and what an independent verifier accepts."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from app.core.webhook.signing import SigningSecretError, new_secret, new_signing_key, public_key, sign

# The vectors of the Standard Webhooks reference libraries.
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

OTHER = new_secret(b"o" * 32)


@pytest.mark.parametrize(
    ("secrets", "header"),
    [
        ([SECRET], V1),
        ([KEY], V1A),
        ([SECRET, KEY], f"{V1} {V1A}"),
        ([KEY, SECRET], f"{V1} {V1A}"),  # v1 first in every order
        ([], ""),
    ],
)
def test_signatures_are_those_of_the_published_vectors(secrets: list[str], header: str) -> None:
    assert sign(secrets, ID, TIMESTAMP, BODY) == header


def test_during_a_rotation_the_newer_secret_signs_first() -> None:
    header = sign([OTHER, KEY, SECRET], ID, TIMESTAMP, BODY)
    assert header == " ".join([sign([OTHER], ID, TIMESTAMP, BODY), V1, V1A])


@pytest.mark.parametrize("secrets", [[SECRET], [OTHER], [SECRET, KEY], [SECRET, OTHER], [OTHER, SECRET]])
@pytest.mark.parametrize("body", [BODY, b"{}", '{"s":"é😀\u2028"}'.encode()])
def test_the_independent_verifier_accepts_ours(secrets: list[str], body: bytes) -> None:
    now = int(datetime.now(UTC).timestamp())
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign(secrets, "evt_1", now, body)
    for secret in secrets:
        if secret != KEY:  # that package has no v1a
            Webhook(secret).verify(body, headers)


def test_new_secrets_and_keys_have_the_published_forms() -> None:
    assert new_secret(bytes(range(32))) == "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    seed, public = KEY.removeprefix("whsk_"), "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    assert public_key(KEY) == "whpk_" + public
    raw = b64encode(bytes(range(32)))
    key = new_signing_key(bytes(range(32)))
    assert key.startswith("whsk_" + raw[:40].decode())
    assert len(key) == len(seed) + len("whsk_")


@pytest.mark.parametrize("length", [0, 23, 65])
def test_secrets_have_24_to_64_bytes(length: int) -> None:
    with pytest.raises(SigningSecretError):
        new_secret(b"x" * length)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(SigningSecretError):
        new_signing_key(b"x" * length)
