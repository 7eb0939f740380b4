"""What a receiver asks for with the header `webhook-delivery` of its answer (Standard Webhooks, proposal 291).

Pure. `disable`: send this endpoint nothing any more. `abort-message`: try this delivery no more. Anything else is no
request of ours to follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Asked = Literal["disable", "abort-message"]

DISABLE: Asked = "disable"
ABORT: Asked = "abort-message"
HEADER = "webhook-delivery"
# The two words have 22 letters together; the rest is room for white space. What is longer is not ours to read.
LONGEST_VALUE = 64


def asked(headers: Iterable[tuple[str, str]]) -> Asked | None:
    """What an answer's headers ask for; None for nothing. Of several requests the one that ends more counts."""
    words = {
        word.strip(" \t").lower()
        for name, value in headers
        if len(name) == len(HEADER) and name.lower() == HEADER and len(value) <= LONGEST_VALUE
        for word in value.split(",")
    }
    if DISABLE in words:
        return DISABLE
    return ABORT if ABORT in words else None
