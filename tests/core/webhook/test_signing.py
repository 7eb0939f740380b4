"""Signatures: the published vectors, an independent verifier, and everything that must not verify."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from app.core.webhook.signing import (
    SecretError,
    VerificationError,
    new_secret,
    new_signing_key,
    public_key,
    sign,
    verify,
)

# The vectors of the Standard Webhooks reference libraries.
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

OTHER = new_secret(b"o" * 32)
OTHER_KEY = new_signing_key(b"k" * 32)


def check(secrets: list[str], signatures: str, **changed: object) -> None:
    given: dict[str, object] = {"id": ID, "timestamp": str(TIMESTAMP), "body": BODY, "now": TIMESTAMP} | changed
    verify(secrets, signatures=signatures, **given)  # type: ignore[arg-type]


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


def test_ours_accepts_what_the_independent_package_signs() -> None:
    header = Webhook(SECRET).sign(ID, datetime.fromtimestamp(TIMESTAMP, UTC), BODY.decode())
    check([SECRET], header)


@pytest.mark.parametrize(
    ("secrets", "header"),
    [
        ([SECRET], V1),
        ([KEY], V1A),
        ([public_key(KEY)], V1A),
        ([OTHER, SECRET], V1),
        ([SECRET], f"v1,AAAA {V1}"),
        ([SECRET], f"{V1A} {V1}"),
        ([public_key(KEY)], f"{V1} {V1A}"),
        ([public_key(OTHER_KEY), public_key(KEY)], f"v1a,AAAA v2,x {V1A}"),
    ],
)
def test_one_fitting_pair_of_secret_and_signature_is_enough(secrets: list[str], header: str) -> None:
    check(secrets, header)


@pytest.mark.parametrize(
    ("secrets", "header"),
    [
        ([OTHER], V1),
        ([], V1),
        ([SECRET], ""),
        ([SECRET], "v1,"),
        ([SECRET], V1.removeprefix("v1,")),
        ([SECRET], V1.replace("v1,", "v2,")),
        ([SECRET], V1A),
        ([SECRET], V1[:-1]),
        ([SECRET], V1 + "A"),
        ([SECRET], "v1,\u00e9\udcff"),
        ([public_key(OTHER_KEY)], V1A),
        ([public_key(KEY)], V1),
        ([public_key(KEY)], "v1a,%%%"),
        ([public_key(KEY)], "v1a," + b64encode(b"s" * 63).decode()),
        ([SECRET], "v1,x " * 10_000 + V1),  # the number of signatures that is looked at is bounded
    ],
)
def test_without_a_fitting_pair_nothing_verifies(secrets: list[str], header: str) -> None:
    with pytest.raises(VerificationError, match="no signature fits"):
        check(secrets, header)


@pytest.mark.parametrize(
    "changed",
    [{"id": "msg_other"}, {"id": ID + "\udcff"}, {"body": BODY + b" "}, {"body": b""}, {"timestamp": "1614265331"}],
)
@pytest.mark.parametrize(("secret", "header"), [(SECRET, V1), (public_key(KEY), V1A)])
def test_any_changed_part_is_noticed(changed: dict[str, object], secret: str, header: str) -> None:
    with pytest.raises(VerificationError, match="no signature fits"):
        check([secret], header, **changed)


@pytest.mark.parametrize(
    ("now", "complaint"),
    [
        (TIMESTAMP + 300, None),
        (TIMESTAMP - 300, None),
        (TIMESTAMP + 300.5, "300 s old"),
        (TIMESTAMP + 301, "301 s old"),
        (TIMESTAMP - 301, "301 s in the future"),
    ],
)
def test_the_time_may_differ_by_five_minutes(now: float, complaint: str | None) -> None:
    if complaint is None:
        check([SECRET], V1, now=now)
        return
    with pytest.raises(VerificationError, match=complaint):
        check([SECRET], V1, now=now)


@pytest.mark.parametrize(
    "timestamp", ["", "now", "-1614265330", "1614265330.0", "１６１４２６５３３０", " 1614265330", "9" * 13]
)
def test_a_timestamp_is_digits(timestamp: str) -> None:
    with pytest.raises(VerificationError, match="not a number of seconds"):
        check([SECRET], V1, timestamp=timestamp)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_%%%%",
        "whsec_" + b64encode(b"x" * 23).decode(),
        "whsec_" + b64encode(b"x" * 65).decode(),
        "whsk_" + b64encode(b"x" * 32).decode(),
        "whsk_" + b64encode(b"x" * 65).decode(),
        "whsec_é",
    ],
)
def test_a_malformed_secret_neither_signs_nor_verifies(secret: str) -> None:
    with pytest.raises(SecretError):
        sign([secret], ID, TIMESTAMP, BODY)
    with pytest.raises(SecretError):
        check([SECRET, secret], V1)


@pytest.mark.parametrize("key", ["whpk_", "whpk_" + b64encode(b"x" * 31).decode(), "whpk_*"])
def test_a_malformed_public_key_is_refused(key: str) -> None:
    with pytest.raises(SecretError):
        check([key], V1A)


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
    with pytest.raises(SecretError):
        new_secret(b"x" * length)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(SecretError):
        new_signing_key(b"x" * length)
