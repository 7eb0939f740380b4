"""How an event, its stream and its idempotency key may be called: allow-lists, with a hint for those who miss them."""

from __future__ import annotations

import re

# Allow-lists, because the names stand in SSE lines, URLs and headers: no CR, LF, NUL, space or slash gets there.
TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
EXTERNAL_ID = re.compile(r"[A-Za-z0-9_.~:@+=-]{1,200}")
KIND_HINT = "give a small letter, then small letters, digits and _ . - (at most 64)"
EXTERNAL_ID_HINT = "give 1 to 200 of letters, digits and _ . ~ : @ + = -"
KEY = re.compile(r"[\x21-\x7e]{1,255}")

# EventSource dispatches these names itself: an event so named could not be told from its own.
RESERVED_TYPES = frozenset({"error", "open", "message"})
