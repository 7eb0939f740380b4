"""W3C Trace Context (level 1): the producer's `traceparent`, and one for each attempt below it. Pure."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

# Of version 00, and what all later versions begin with (section 3.2.4): an id of the trace, one of the parent, flags.
PATTERN = "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
_FORM = re.compile(rf"({PATTERN})(-[\x21-\x7e]*)?")
LONGEST = 512  # what is longer is no traceparent of any version
SAMPLED = 1  # the only flag of version 00
LETTERS = 55


def read(text: str | None) -> str:
    """A traceparent as version 00 has it; "" for none and for what is malformed, which the recommendation has us ignore
    (section 4.3)."""
    found = _FORM.fullmatch(text) if text is not None and len(text) <= LONGEST else None
    if found is None:
        return ""
    version, trace, parent, flags = found[1].split("-")
    if version == "ff" or (version == "00" and found[2] is not None) or not int(trace, 16) or not int(parent, 16):
        return ""
    return f"00-{trace}-{parent}-{int(flags, 16) & SAMPLED:02x}"


def child(traceparent: str, delivery_id: str, sent_at: datetime) -> str:
    """The traceparent of one attempt: the same trace, below a parent of its own, which can be told from its row."""
    moment = sent_at.astimezone(UTC).isoformat(timespec="milliseconds")  # as the API shows it
    digest = hashlib.sha256(f"{delivery_id}/{moment}".encode()).digest()[:8]
    own = digest if any(digest) else b"\1" * 8
    version, trace, _, flags = traceparent.split("-")
    return f"{version}-{trace}-{own.hex()}-{flags}"
