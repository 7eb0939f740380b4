"""Signed tokens: checked by hand as RFC 7519 says, and everything that must not be taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from app.core import tokens
from app.core.tokens import Claims

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = 1_763_632_800
CLAIMS = Claims("tok_1", "call", "call_1", NOW + 300)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(payload: Any, *, header: Any = None, key: bytes = KEY, digest: str = "sha256") -> str:
    """A token made here, by the RFC and not by our code."""
    header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head = f"{b64(json.dumps(header).encode())}.{b64(raw)}"
    return f"{head}.{b64(hmac.new(key, head.encode(), digest).digest())}"


def payload(**changed: Any) -> dict[str, Any]:
    full = {"jti": "tok_1", "aud": "stream", "kind": "call", "sub": "call_1", "iat": NOW, "exp": NOW + 300} | changed
    return {name: value for name, value in full.items() if value is not ...}


def test_a_token_is_what_the_rfc_says() -> None:
    head, body, signature = tokens.encode(KEY, CLAIMS, NOW).split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(body + "==")) == payload()
    mac = hmac.new(KEY, f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert signature == b64(mac)


def test_ours_and_one_made_by_hand_are_read() -> None:
    assert tokens.decode([KEY], tokens.encode(KEY, CLAIMS, NOW), NOW) == CLAIMS
    assert tokens.decode([KEY], forged(payload()), NOW) == CLAIMS


def test_a_former_key_is_still_taken_and_an_unknown_one_is_not() -> None:
    token = tokens.encode(KEY, CLAIMS, NOW)
    assert tokens.decode([OTHER, KEY], token, NOW) == CLAIMS
    assert tokens.decode([OTHER], token, NOW) is None
    assert tokens.decode([], token, NOW) is None


@pytest.mark.parametrize(("at", "good"), [(NOW, True), (NOW + 299.999, True), (NOW + 300, False), (NOW + 10**9, False)])
def test_a_token_ends_at_its_time(at: float, good: bool) -> None:
    assert (tokens.decode([KEY], tokens.encode(KEY, CLAIMS, NOW), at) is not None) is good


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        forged(payload()) + ".",
        forged(payload())[:-1],
        forged(payload()).rpartition(".")[0] + ".",  # not signed
        forged(payload()).replace(".", "..", 1),
        f"{b64(b'{}')}.{b64(json.dumps(payload()).encode())}.",
        forged(payload(), header={"alg": "none"}).rpartition(".")[0] + ".",
        forged(payload(), header={"alg": "none"}, key=b""),
        forged(payload(), key=OTHER),
        forged(payload(), digest="sha512"),
        forged(payload(aud="session")),
        forged(payload(aud=...)),
        forged(payload(aud=["stream"])),
        forged(payload(aud=None)),
        forged(payload(exp=...)),
        forged(payload(exp="never")),
        forged(payload(exp=None)),
        forged(payload(exp=NOW)),
        forged(payload(jti=...)),
        forged(payload(kind=...)),
        forged(payload(sub=...)),
        forged([]),
        forged("text"),
        forged(None),
        forged(b"not json"),
        forged(b"\xff"),
        forged(payload(pad="x" * 2048)),
    ],
)
def test_everything_else_is_no_token(token: str) -> None:
    assert tokens.decode([KEY], token, NOW) is None


def test_no_letter_can_be_changed() -> None:
    token = tokens.encode(KEY, CLAIMS, NOW)
    for at, letter in enumerate(token[:-1]):  # the last one holds two bits that count for nothing
        for other in ("A", "Z", ".", "\0", "é", "%"):
            if other != letter:
                assert tokens.decode([KEY], token[:at] + other + token[at + 1 :], NOW) is None, (at, other)


def test_the_header_cannot_choose_how_it_is_checked() -> None:
    """Signed with our key, so let in; the point is that `alg` is never looked at."""
    for alg in ("none", "HS512", "RS256"):
        assert tokens.decode([KEY], forged(payload(), header={"alg": alg}), NOW) == CLAIMS


def test_a_token_for_one_purpose_is_refused_for_another() -> None:
    session = tokens.sign(KEY, tokens.SESSION, {"jti": "tok_1", "kind": "call", "sub": "call_1"}, NOW + 300)
    assert tokens.decode([KEY], session, NOW) is None
    assert tokens.read([KEY], tokens.STREAM, session, NOW) is None
    found = tokens.read([KEY], tokens.SESSION, session, NOW)
    assert found is not None
    assert found["jti"] == "tok_1"


def test_an_audience_cannot_be_overwritten_by_a_claim() -> None:
    session = tokens.sign(KEY, tokens.SESSION, {"aud": "stream", "exp": NOW + 10**6}, NOW + 300)
    assert tokens.read([KEY], tokens.STREAM, session, NOW) is None
    assert tokens.read([KEY], tokens.SESSION, session, NOW + 301) is None


@pytest.mark.parametrize(
    ("text", "like"),
    [(tokens.encode(KEY, CLAIMS, NOW), True), ("sk_abc", False), ("ey", False), ("ey.a", False), ("pk_ey.a.b", False)],
)
def test_a_token_is_told_from_a_key_by_its_form(text: str, like: bool) -> None:
    assert tokens.looks_like(text) is like
