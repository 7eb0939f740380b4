"""Check Standard Webhooks 1.0 signatures, `v1` (HMAC-SHA256) and `v1a` (ed25519): https://www.standardwebhooks.com.

It shares no line with the code that signs, so that a fault there cannot excuse itself here. `cryptography` is needed,
and imported, for `v1a` only.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HMAC_SECRET = "whsec_"
PRIVATE_KEY = "whsk_"
PUBLIC_KEY = "whpk_"

SHORTEST_SECRET_BYTES, LONGEST_SECRET_BYTES = 24, 64  # the specification's bounds
SEED_BYTES = 32  # ed25519, RFC 8032, 5.1.5
TOLERANCE_SECONDS = 300  # the specification's advice against replays: five minutes either way
LONGEST_TIMESTAMP = 12  # digits: 30,000 years
MOST_SIGNATURES = 32  # during a rotation a few secrets sign; more are an attempt to make the receiver work


class WebhookVerificationError(Exception):
    """This request was not sent by the holder of the secret, was changed on the way, or is too old. Answer 400."""


class SecretError(ValueError):
    """A secret or key is not in one of the three forms: the receiver's own configuration is wrong."""


def verify(
    secrets: Sequence[str],
    id: str,
    timestamp: str,
    signatures: str,
    body: bytes,
    *,
    now: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> None:
    """Return if any of `secrets` (`whsec_`, `whpk_` or `whsk_`) made any of the space-separated `signatures`.

    id, timestamp, signatures: the values of the `webhook-…` headers; body: the bytes exactly as received; now: Unix
    seconds. Raises WebhookVerificationError when none did, or when the timestamp is further than `tolerance_seconds`
    from `now`; SecretError when a secret is malformed.
    """
    sent_at = _seconds(timestamp)
    age_seconds = now - sent_at
    if abs(age_seconds) > tolerance_seconds:
        when = "old" if age_seconds > 0 else "in the future"
        raise WebhookVerificationError(
            f"the webhook-timestamp is {abs(age_seconds):.0f} s {when}: check this machine's clock"
        )
    signed = b"%b.%d.%b" % (_bytes(id), sent_at, body)
    given = signatures.split(" ", MOST_SIGNATURES)[:MOST_SIGNATURES]
    # Every secret is tried, so that a malformed one shows at once and not on the day of a rotation.
    matches = [_made_any(secret, signed, given) for secret in secrets]
    if not any(matches):
        raise WebhookVerificationError(
            "no signature matches: the secret is another one, or the body is not byte for byte what was sent"
        )


def _seconds(timestamp: str) -> int:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= LONGEST_TIMESTAMP):
        raise WebhookVerificationError("the webhook-timestamp is not a number of seconds")
    return int(timestamp)


def _bytes(text: str) -> bytes:
    """UTF-8 of any string, also of one that an attacker filled with lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _made_any(secret: str, signed: bytes, given: Sequence[str]) -> bool:
    if secret.startswith((PRIVATE_KEY, PUBLIC_KEY)):
        key = _public_key(secret)
        return any(_ed25519_made(key, one.removeprefix("v1a,"), signed) for one in given if one.startswith("v1a,"))
    expected = b"v1," + b64encode(hmac.digest(_hmac_key(secret), signed, "sha256"))
    return any(hmac.compare_digest(expected, _bytes(one)) for one in given)


def _hmac_key(secret: str) -> bytes:
    key = _decoded(secret, HMAC_SECRET)
    if not SHORTEST_SECRET_BYTES <= len(key) <= LONGEST_SECRET_BYTES:
        raise SecretError(f"a {HMAC_SECRET} secret holds {SHORTEST_SECRET_BYTES} to {LONGEST_SECRET_BYTES} bytes")
    return key


def _public_key(secret: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    if secret.startswith(PRIVATE_KEY):
        raw = _decoded(secret, PRIVATE_KEY)
        if len(raw) != 2 * SEED_BYTES:
            raise SecretError(f"a {PRIVATE_KEY} key holds {2 * SEED_BYTES} bytes: the seed and the public key")
        return Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES]).public_key()
    try:
        return Ed25519PublicKey.from_public_bytes(_decoded(secret, PUBLIC_KEY))
    except ValueError as error:
        raise SecretError(f"a {PUBLIC_KEY} key holds the 32 bytes of an ed25519 public key") from error


def _ed25519_made(key: Ed25519PublicKey, signature: str, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(b64decode(signature, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _decoded(secret: str, prefix: str) -> bytes:
    if not secret.startswith(prefix):
        raise SecretError(f"a secret of this kind starts with {prefix}")
    try:
        return b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretError(f"what follows {prefix} is not base64") from error
