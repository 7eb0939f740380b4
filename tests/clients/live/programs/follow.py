"""Follows a stream with the Python package, by tokens. One line for each event: {"type", "data", "id"}.

follow.py BASE_URL KEY KIND ID [TOKENS_BASE_URL]
"""

import json
import sys

from twofold import Client

base_url, key, kind, id, *tokens_at = sys.argv[1:]
minting = Client((tokens_at or [base_url])[0], key)
live = Client(base_url, key).streams.live(
    kind, id, last_event_id="0", token=lambda: minting.streams.make_token(kind, id)["token"]
)
with live:
    for event in live:
        print(json.dumps({"type": event.type, "data": event.data, "id": event.id}), flush=True)
