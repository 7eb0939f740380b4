"""Checking signatures: the published vectors, an independent signer, our own sender, and all that must not verify."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from app.client import SecretError, WebhookVerificationError
from app.client.signatures import verify
from app.core.webhook.signing import SigningSecretError, new_secret, new_signing_key, public_key, sign
from tests.processes import ROOT

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


def test_ours_accepts_what_the_independent_package_signs() -> None:
    header = Webhook(SECRET).sign(ID, datetime.fromtimestamp(TIMESTAMP, UTC), BODY.decode())
    check([SECRET], header)


@pytest.mark.parametrize("secrets", [[SECRET], [KEY], [SECRET, KEY], [OTHER, SECRET, KEY]])
@pytest.mark.parametrize("body", [BODY, b"", '{"s":"é😀\u2028"}'.encode()])
def test_what_our_sender_signs_is_accepted_by_each_of_its_secrets(secrets: list[str], body: bytes) -> None:
    header = sign(secrets, "evt_1", TIMESTAMP, body)
    for secret in secrets:
        check([public_key(secret) if secret == KEY else secret], header, id="evt_1", body=body)


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
def test_one_matching_pair_of_secret_and_signature_is_enough(secrets: list[str], header: str) -> None:
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
def test_without_a_matching_pair_nothing_verifies(secrets: list[str], header: str) -> None:
    with pytest.raises(WebhookVerificationError, match="no signature matches"):
        check(secrets, header)


@pytest.mark.parametrize(
    "changed",
    [{"id": "msg_other"}, {"id": ID + "\udcff"}, {"body": BODY + b" "}, {"body": b""}, {"timestamp": "1614265331"}],
)
@pytest.mark.parametrize(("secret", "header"), [(SECRET, V1), (public_key(KEY), V1A)])
def test_any_changed_part_is_noticed(changed: dict[str, object], secret: str, header: str) -> None:
    with pytest.raises(WebhookVerificationError, match="no signature matches"):
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
    with pytest.raises(WebhookVerificationError, match=complaint):
        check([SECRET], V1, now=now)


@pytest.mark.parametrize(
    "timestamp", ["", "now", "-1614265330", "1614265330.0", "１６１４２６５３３０", " 1614265330", "9" * 13]
)
def test_a_timestamp_is_digits(timestamp: str) -> None:
    with pytest.raises(WebhookVerificationError, match="not a number of seconds"):
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
    with pytest.raises(SigningSecretError):
        sign([secret], ID, TIMESTAMP, BODY)
    with pytest.raises(SecretError):
        check([SECRET, secret], V1)


@pytest.mark.parametrize("key", ["whpk_", "whpk_" + b64encode(b"x" * 31).decode(), "whpk_*"])
def test_a_malformed_public_key_is_refused(key: str) -> None:
    with pytest.raises(SecretError):
        check([key], V1A)


def test_only_ed25519_signatures_need_cryptography() -> None:
    program = (
        "import sys\n"
        "from app.client.signatures import verify\n"
        f"verify([{SECRET!r}], {ID!r}, '{TIMESTAMP}', {V1!r}, {BODY!r}, now={TIMESTAMP})\n"
        "assert not any(name.startswith('cryptography') for name in sys.modules), 'imported without need'\n"
        f"verify([{public_key(KEY)!r}], {ID!r}, '{TIMESTAMP}', {V1A!r}, {BODY!r}, now={TIMESTAMP})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
