"""Sign as Standard Webhooks 1.0 says (https://www.standardwebhooks.com), v1 and v1a; app.client checks signatures.

Signed is ``{id}.{timestamp}.{body}``: with ``whsec_`` secrets by HMAC-SHA256 (``v1``), with ``whsk_`` keys by ed25519
(``v1a``), which receivers check with the public ``whpk_`` form and so could not have signed themselves.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_PREFIX = "whsec_"
SIGNING_KEY_PREFIX = "whsk_"
PUBLIC_KEY_PREFIX = "whpk_"

# The specification's bounds for a v1 secret; we make them of 32, the length of the hash.
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
SECRET_BYTES = 32
_LEAST_DIFFERENT = 12  # bytes of a secret, and steps from one to the next
_SEED_BYTES = 32  # ed25519, RFC 8032, 5.1.5


class SigningSecretError(ValueError):
    """A secret or key is not in one of the three forms."""


def new_secret(random: bytes) -> str:
    """A ``whsec_`` secret of 24 to 64 random bytes (32 are right). Raises SigningSecretError for fewer or more."""
    if not MIN_SECRET_BYTES <= len(random) <= MAX_SECRET_BYTES:
        raise SigningSecretError(f"a secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(random)}")
    return SECRET_PREFIX + b64encode(random).decode()


def new_signing_key(seed: bytes) -> str:
    """A ``whsk_`` key: the 32-byte ed25519 seed, then its public key. Raises SigningSecretError for another length."""
    if len(seed) != _SEED_BYTES:
        raise SigningSecretError(f"a seed has {_SEED_BYTES} bytes, not {len(seed)}")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SIGNING_KEY_PREFIX + b64encode(seed + public).decode()


def public_key(signing_key: str) -> str:
    """The ``whpk_`` form of a ``whsk_`` key, which is what receivers are given. Raises SigningSecretError."""
    return PUBLIC_KEY_PREFIX + b64encode(_private_key(signing_key).public_key().public_bytes_raw()).decode()


def why_weak(secret: str) -> str | None:
    """Why a ``whsec_`` secret that somebody has chosen must not be used, as the end of a sentence; else None.

    Whoever can guess it can sign. Of 24 random bytes fewer than 12 are different in one of 10^13 cases; words repeated,
    a run of numbers and a single byte are what people choose for a try, and forget.
    """
    try:
        key = _hmac_key(secret)
    except SigningSecretError as error:
        return (
            f"must be {SECRET_PREFIX} and then base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes: {error}"
        )
    if SECRET_PREFIX + b64encode(key).decode() != secret:
        return "is not base64 as it should be written: its last letter has bits that mean nothing"
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    if len(set(key)) < _LEAST_DIFFERENT or len(steps) < _LEAST_DIFFERENT:
        return "is too easy to guess: take random bytes"
    return None


def sign(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> str:
    """The value of the ``webhook-signature`` header: one signature for each secret, every ``v1`` before every ``v1a``
    (some verifiers stop at a version that they do not know). ``timestamp`` is in Unix seconds.
    Raises SigningSecretError."""
    content = b"%b.%d.%b" % (id.encode(), timestamp, body)
    # A stable sort: within a version the order of the secrets stays, newest first.
    return " ".join(_signature(secret, content) for secret in sorted(secrets, key=_is_asymmetric))


def _signature(secret: str, content: bytes) -> str:
    if _is_asymmetric(secret):
        return "v1a," + b64encode(_private_key(secret).sign(content)).decode()
    return "v1," + b64encode(hmac.digest(_hmac_key(secret), content, "sha256")).decode()


def _is_asymmetric(secret: str) -> bool:
    return secret.startswith(SIGNING_KEY_PREFIX)


def _hmac_key(secret: str) -> bytes:
    key = _decoded(secret, SECRET_PREFIX)
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise SigningSecretError(f"a {SECRET_PREFIX} secret holds {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
    return key


def _private_key(signing_key: str) -> Ed25519PrivateKey:
    raw = _decoded(signing_key, SIGNING_KEY_PREFIX)
    if len(raw) != 2 * _SEED_BYTES:
        raise SigningSecretError(f"a {SIGNING_KEY_PREFIX} key holds {2 * _SEED_BYTES} bytes: seed and public key")
    return Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])


def _decoded(secret: str, prefix: str) -> bytes:
    if not secret.startswith(prefix):
        raise SigningSecretError(f"a secret of this kind starts with {prefix}")
    try:
        return b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SigningSecretError(f"what follows {prefix} is not base64") from error
