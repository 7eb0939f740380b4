"""Keep secrets sealed at rest, and derive one key per purpose from the process's SECRET_KEY."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# The form is: one version byte, the nonce, the AES-256-GCM ciphertext with its tag. The version byte is authenticated.
_VERSION = b"\x01"
_PURPOSE = "sealing endpoint secrets"

# NIST SP 800-38D, 5.2.1.1: 96 bits is the nonce length that GCM is made for.
NONCE_BYTES = 12
_TAG_BYTES = 16


class UnsealError(ValueError):
    """A sealed value cannot be opened: it is damaged, or none of the keys is the one that sealed it."""


@lru_cache(maxsize=64)  # a process has a few keys and purposes; HKDF costs more than the encryption itself
def derive(key_material: str, purpose: str) -> bytes:
    """A 32-byte key for one purpose (HKDF-SHA256, RFC 5869): keys of two purposes tell nothing about each other."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"twofold/" + purpose.encode()).derive(
        key_material.encode()
    )


def seal(key_material: str, plaintext: bytes, nonce: bytes) -> bytes:
    """Encrypt; ``nonce`` is 12 fresh random bytes, never used twice. Raises ValueError for another length."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, this one has {len(nonce)}")
    return _VERSION + nonce + AESGCM(derive(key_material, _PURPOSE)).encrypt(nonce, plaintext, _VERSION)


def unseal(keys: Sequence[str], sealed: bytes) -> bytes:
    """Decrypt with the first of ``keys`` (the present one, then previous ones) that fits. Raises UnsealError."""
    sealed = bytes(sealed)  # database drivers hand out memoryviews
    if sealed[:1] != _VERSION or len(sealed) < 1 + NONCE_BYTES + _TAG_BYTES:
        raise UnsealError("this is not a value sealed by this version of Twofold")
    nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    for key_material in keys:
        try:
            return AESGCM(derive(key_material, _PURPOSE)).decrypt(nonce, ciphertext, _VERSION)
        except InvalidTag:
            continue
    raise UnsealError(
        "none of the keys opens this secret: SECRET_KEY has changed, put the former one into SECRET_KEY_PREVIOUS"
    )
