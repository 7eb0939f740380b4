"""Passwords: checked against what is kept of them, which is a salted scrypt hash (RFC 7914).

Both functions take about a quarter of a second and 32 MiB, on purpose. hashlib lets other threads run meanwhile; a
caller with greenlets has to give them a real thread.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets

from app.core.problem import invalid

SHORTEST, LONGEST = 12, 200  # NIST SP 800-63B wants 8 at least where nothing else is asked for; length is what counts
# OWASP's password storage cheat sheet, of equal strengths the one that needs the least memory.
_COST, _BLOCK, _LANES = 2**15, 8, 3
_SALT_BYTES, _HASH_BYTES = 16, 32
_MOST_MEMORY = 64 * 2**20
_SCHEME = "scrypt"
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters that are mistaken for each other
_GROUPS, _GROUP_LETTERS = 5, 5  # 31 ** 25 > 2 ** 123


def new_password() -> str:
    """A random password that can be read out, such as `kt4vn-…`."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LETTERS)) for _ in range(_GROUPS))
    return "-".join(groups)


def hashed(password: str) -> str:
    """What is kept of a password: scheme, cost, salt and hash as text. Raises Problem for one that is too short."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise invalid("password", f"must have {SHORTEST} to {LONGEST} characters, this has {len(password)}")
    salt = os.urandom(_SALT_BYTES)
    made = _hash(password, salt, _COST, _BLOCK, _LANES)
    return "$".join((_SCHEME, str(_COST), str(_BLOCK), str(_LANES), _text(salt), _text(made)))


def matches(password: str, kept: str | None) -> bool:
    """Whether this is the password that `kept` was made from. kept None: of nobody, which takes as long to find out."""
    if len(password) > LONGEST:
        return False
    scheme, cost, block, lanes, salt, expected = (kept or _NOBODYS).split("$")
    if scheme != _SCHEME:
        raise ValueError(f"a password hash of the unknown scheme {scheme}")
    found = _hash(password, _bytes(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(found, _bytes(expected)) and kept is not None


def _hash(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "replace"),
        salt=salt,
        n=cost,
        r=block,
        p=lanes,
        maxmem=_MOST_MEMORY,
        dklen=_HASH_BYTES,
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


_NOBODYS = "$".join(
    (_SCHEME, str(_COST), str(_BLOCK), str(_LANES), _text(bytes(_SALT_BYTES)), _text(bytes(_HASH_BYTES)))
)
