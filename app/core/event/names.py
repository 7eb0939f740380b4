"""How an event's type, its stream, its labels and its idempotency key may be spelled, with a hint for whoever misspells
them.

Allow-lists, because these names stand in SSE lines, URLs and headers: no CR, LF, NUL, space or slash gets there. A hint
completes a sentence that begins with the name of the field: "kind: must be …".
"""

from __future__ import annotations

import re

LONGEST_TYPE = 128
TYPE = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,{LONGEST_TYPE - 1}}}")
TYPE_HINT = "must be 1 to 128 letters, digits and _ . : - that begin with a letter, a digit or _, such as call.barge_in"

# EventSource dispatches the first three itself, and `reset` is a stream's own word for a cursor that is ahead of it: an
# event so named could not be told from theirs.
RESERVED_TYPES = frozenset({"error", "open", "message", "reset"})

# The kind of a workspace's own streams, which take the events that name no stream (own_streams). Producers can neither
# open nor end them, nor name them; they are read and followed as any other.
OWN_KIND = "_workspace"
OWN_KIND_HINT = "_workspace is for the workspace's own streams; leave stream out, and the event belongs to one of them"

NEW_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
KIND = re.compile(rf"{OWN_KIND}|{NEW_KIND.pattern}")  # of what is read
KIND_HINT = "must be a lowercase letter, then lowercase letters, digits and _ . - (at most 64 in all), such as call"

# Not "." and "..": clients collapse them in a URL's path before they send it (RFC 3986, 5.2.4).
EXTERNAL_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~:@+=-]{1,200}")
EXTERNAL_ID_HINT = "must be 1 to 200 letters, digits and _ . ~ : @ + = -, other than . and .."

# A workspace's uid: it stands in paths, too. (That it does not begin like our own ids is checked where it is set.)
UID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~:@-]{1,128}")
UID_HINT = "must be 1 to 128 letters, digits and _ . ~ : @ -, other than . and .."

KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEY_HINT = "must be 1 to 255 printable ASCII characters without spaces"

# Labels that endpoints may ask for. Each costs a comparison for each endpoint that asks, for every event.
CHANNEL = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
CHANNEL_HINT = "must be 1 to 64 letters, digits and _ . : -, such as team:billing"
MOST_CHANNELS = 10

# What a producer notes beside the data. It travels with every delivery: notes, not documents.
METADATA_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
METADATA_NAME_HINT = "a name has 1 to 64 letters, digits and _ . : -"
MOST_METADATA = 50
LONGEST_METADATA = 500  # letters of a value
