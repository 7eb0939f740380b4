"""What looks like a credential is not logged."""

from __future__ import annotations

import pytest

from app.core.masking import mask


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("GET /v1/streams/sk_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789/x", "GET /v1/streams/sk_AbCd…[masked]/x"),
        ("/pk_0123456789abcdef", "/pk_0123…[masked]"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=", "whsec_MfKQ…[masked]"),
        ("/live/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYWxsXzEifQ.c2lnbmF0dXJl end", "/live/eyJ…[masked] end"),
        ("/v1/keys/key_01kfxt000009s0m7yq5f3a8c2d", "/v1/keys/key_01kfxt000009s0m7yq5f3a8c2d"),
        ("/v1/streams/call/task_1 risk_free pk_short", "/v1/streams/call/task_1 risk_free pk_short"),
    ],
)
def test_what_looks_like_a_credential_is_masked(line: str, shown: str) -> None:
    assert mask(line) == shown
