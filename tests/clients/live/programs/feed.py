"""Reads the feed with the Python package, live and as a consumer. One line for each event: {"by", "id", "cursor"}.

feed.py BASE_URL KEY KIND CURSOR
"""

import json
import sys
import threading

from twofold import Client

base_url, key, kind, cursor = sys.argv[1:]


def told(by: str, id: str, cursor: str) -> None:
    sys.stdout.write(json.dumps({"by": by, "id": id, "cursor": cursor}) + "\n")
    sys.stdout.flush()


def consume() -> None:
    client = Client(base_url, key)
    for page in client.consumers.pages(f"python-{kind}", wait=2):
        for entry in page:
            told("consumer", entry["event"]["id"], entry["cursor"])


client = Client(base_url, key)
client.consumers.put(f"python-{kind}", kinds=[kind], start=cursor)
threading.Thread(target=consume, daemon=True).start()
with client.feed.live(cursor, kinds=[kind]) as feed:
    for event in feed:
        told("live", json.loads(event.data)["id"], event.id)
