"""Standard Webhooks 1.0: signatures that a receiver can check (https://www.standardwebhooks.com, v1 and v1a).

Signed is ``{id}.{timestamp}.{body}``: with ``whsec_`` secrets by HMAC-SHA256 (``v1``), with ``whsk_`` keys by ed25519
(``v1a``), which receivers check with the public ``whpk_`` form and so could not have signed themselves.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SECRET_PREFIX = "whsec_"
SIGNING_KEY_PREFIX = "whsk_"
PUBLIC_KEY_PREFIX = "whpk_"

# The specification's bounds for a v1 secret; we make them of 32, the length of the hash.
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
SECRET_BYTES = 32
_SEED_BYTES = 32  # ed25519, RFC 8032, 5.1.5

# The specification's advice against replays: five minutes either way.
TOLERANCE_SECONDS = 300

# During a rotation a few secrets sign; more signatures than this are an attempt to keep the receiver busy.
_MAX_SIGNATURES = 32


class SecretError(ValueError):
    """A secret or key is not in one of the three forms."""


class VerificationError(ValueError):
    """A request is not what its sender signed, or not recent. The text says which, and never holds a secret."""


def new_secret(random: bytes) -> str:
    """A ``whsec_`` secret of 24 to 64 random bytes (32 are right). Raises SecretError for fewer or more."""
    if not MIN_SECRET_BYTES <= len(random) <= MAX_SECRET_BYTES:
        raise SecretError(f"a secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(random)}")
    return SECRET_PREFIX + b64encode(random).decode()


def new_signing_key(seed: bytes) -> str:
    """A ``whsk_`` key: the 32-byte ed25519 seed followed by its public key. Raises SecretError for another length."""
    if len(seed) != _SEED_BYTES:
        raise SecretError(f"a seed has {_SEED_BYTES} bytes, not {len(seed)}")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SIGNING_KEY_PREFIX + b64encode(seed + public).decode()


def public_key(signing_key: str) -> str:
    """The ``whpk_`` form of a ``whsk_`` key, which is what receivers are given. Raises SecretError."""
    return PUBLIC_KEY_PREFIX + b64encode(_private_key(signing_key).public_key().public_bytes_raw()).decode()


def sign(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> str:
    """The value of the ``webhook-signature`` header: one signature for each secret, every ``v1`` before every ``v1a``
    (some verifiers stop at a version that they do not know). ``timestamp`` is in Unix seconds. Raises SecretError."""
    content = _content(id, timestamp, body)
    # A stable sort: within a version the order of the secrets stays, newest first.
    return " ".join(_signature(secret, content) for secret in sorted(secrets, key=_is_asymmetric))


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
    """Return if any of ``secrets`` (``whsec_``, ``whpk_`` or ``whsk_``) made any of the space-separated ``signatures``.

    ``timestamp`` and ``signatures`` are header values, ``body`` the bytes exactly as received, ``now`` Unix seconds.
    Raises VerificationError when none is valid or the time is further than ``tolerance_seconds`` from ``now``,
    SecretError when a secret is malformed.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise VerificationError("the webhook-timestamp is not a number of seconds")
    age_seconds = now - int(timestamp)
    if abs(age_seconds) > tolerance_seconds:
        when = "old" if age_seconds > 0 else "in the future"
        raise VerificationError(f"the webhook-timestamp is {abs(age_seconds):.0f} s {when}: check this machine's clock")
    content = _content(id, int(timestamp), body)
    given = signatures.split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]
    # Every secret is tried, so that a malformed one shows at once and not on the day of a rotation.
    valid = [_made_any(secret, content, given) for secret in secrets]
    if not any(valid):
        raise VerificationError("no signature fits: another secret, or the body is not byte for byte as it was sent")


def _content(id: str, timestamp: int, body: bytes) -> bytes:
    return b"%b.%d.%b" % (_bytes(id), timestamp, body)


def _bytes(text: str) -> bytes:
    """UTF-8 of any string, also of one that an attacker filled with lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _signature(secret: str, content: bytes) -> str:
    if _is_asymmetric(secret):
        return "v1a," + b64encode(_private_key(secret).sign(content)).decode()
    return "v1," + b64encode(hmac.digest(_hmac_key(secret), content, "sha256")).decode()


def _made_any(secret: str, content: bytes, given: Sequence[str]) -> bool:
    if not secret.startswith((SIGNING_KEY_PREFIX, PUBLIC_KEY_PREFIX)):
        expected = _signature(secret, content).encode()
        return any(hmac.compare_digest(expected, _bytes(one)) for one in given)
    key = _public_key(secret if secret.startswith(PUBLIC_KEY_PREFIX) else public_key(secret))
    return any(_is_ed25519_signature(key, one.removeprefix("v1a,"), content) for one in given if one.startswith("v1a,"))


def _is_ed25519_signature(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    try:
        key.verify(b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_asymmetric(secret: str) -> bool:
    return secret.startswith(SIGNING_KEY_PREFIX)


def _hmac_key(secret: str) -> bytes:
    key = _decoded(secret, SECRET_PREFIX)
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise SecretError(f"a {SECRET_PREFIX} secret holds {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
    return key


def _private_key(signing_key: str) -> Ed25519PrivateKey:
    raw = _decoded(signing_key, SIGNING_KEY_PREFIX)
    if len(raw) != 2 * _SEED_BYTES:
        raise SecretError(f"a {SIGNING_KEY_PREFIX} key holds {2 * _SEED_BYTES} bytes: the seed and the public key")
    return Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])


def _public_key(key: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(_decoded(key, PUBLIC_KEY_PREFIX))
    except ValueError as error:
        raise SecretError(f"a {PUBLIC_KEY_PREFIX} key holds the 32 bytes of an ed25519 public key") from error


def _decoded(secret: str, prefix: str) -> bytes:
    if not secret.startswith(prefix):
        raise SecretError(f"a secret of this kind starts with {prefix}")
    try:
        return b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretError(f"what follows {prefix} is not base64") from error
