"""Stream tokens: HS256 JWTs (RFC 7515, RFC 7519) that open one stream of one workspace for a few minutes.

The standard library suffices for the one algorithm that is used; nothing here reads the header's `alg`, so a token
cannot choose how it is checked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_HEADER = {"alg": "HS256", "typ": "JWT"}
STREAM, FEED, SESSION = "stream", "feed", "session"  # audiences: a token made for one purpose is refused for the other
MAX_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class Claims:
    """What a stream token says. id: its row; kind and stream_id: the one stream; expires_at: Unix seconds."""

    id: str
    kind: str
    stream_id: str
    expires_at: int


def encode(key: bytes, claims: Claims, issued_at: int) -> str:
    """The compact form of a signed stream token."""
    payload: dict[str, str | int] = {"jti": claims.id, "kind": claims.kind, "sub": claims.stream_id, "iat": issued_at}
    return sign(key, STREAM, payload, claims.expires_at)


def decode(keys: Sequence[bytes], token: str, now: float) -> Claims | None:
    """The claims of a stream token that one of the keys has signed and that has not expired; None for other text."""
    payload = read(keys, STREAM, token, now)
    try:
        return None if payload is None else Claims(payload["jti"], payload["kind"], payload["sub"], payload["exp"])
    except KeyError:
        return None


def sign(key: bytes, audience: str, claims: Mapping[str, str | int], expires_at: int) -> str:
    """A signed token with these claims. expires_at: Unix seconds."""
    head = f"{_b64(_json(_HEADER))}.{_b64(_json({**claims, 'aud': audience, 'exp': expires_at}))}"
    return f"{head}.{_b64(_mac(key, head))}"


def read(keys: Sequence[bytes], audience: str, token: str, now: float) -> dict[str, Any] | None:
    """The claims of a token for this audience that one of the keys has signed and that has not expired, else None."""
    head, _, signature = token.rpartition(".")
    if len(token) > MAX_LENGTH or head.count(".") != 1 or not token.isascii():
        return None
    given = _unb64(signature)
    # Every key is tried, so that the time taken does not tell which one fits.
    if given is None or sum(hmac.compare_digest(_mac(key, head), given) for key in keys) == 0:
        return None
    try:
        payload = json.loads(_unb64(head.partition(".")[2]) or b"")
        good = payload["aud"] == audience and now < payload["exp"]
    except (ValueError, KeyError, TypeError):
        return None
    return payload if good else None


def looks_like(text: str) -> bool:
    """Whether a credential has a token's form rather than a key's."""
    return text.startswith("ey") and text.count(".") == 2


def _mac(key: bytes, head: str) -> bytes:
    return hmac.new(key, head.encode(), hashlib.sha256).digest()


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
