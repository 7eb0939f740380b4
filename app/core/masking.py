"""Takes out of a line what looks like a credential, before the line is logged."""

from __future__ import annotations

import re

# A key, a portal link's token, a webhook secret or a JWT, written into a path by mistake. Its first letters stay, so
# that its owner can be told which one to revoke.
_SECRETS = re.compile(
    r"\b((?:sk|pk|pt)_[A-Za-z0-9_-]{4})[A-Za-z0-9_-]{8,}"
    r"|\b(whs[ek]c?_[A-Za-z0-9+/]{4})[A-Za-z0-9+/=_-]{8,}"
    r"|\b(eyJ)[\w-]+\.[\w-]+\.[\w-]+"
)


def mask(text: str) -> str:
    """The text without what looks like a key (`sk_…`, `pk_…`), a portal link's token (`pt_…`), a webhook secret
    (`whsec_…`, `whsk_…`) or a JWT."""
    if "_" not in text and "eyJ" not in text:  # what each of them has, and most lines have not
        return text
    return _SECRETS.sub(lambda secret: f"{secret[secret.lastindex or 1]}…[masked]", text)
