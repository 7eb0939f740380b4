"""Publishes COUNT events with the Python package, one each 5 ms. One line for each answer: {"key", "id", "seq"}.

publish.py BASE_URL KEY KIND ID COUNT
"""

import json
import sys
import time

from twofold import Publisher

base_url, key, kind, id, count = sys.argv[1:]
with Publisher(base_url, key, exit_seconds=120) as publisher:
    answers = []
    for n in range(int(count)):
        answers.append(publisher.publish(kind, id, "note.added", {"n": n}, idempotency_key=f"{id}-{n}"))
        time.sleep(0.005)
    for n, answer in enumerate(answers):
        stored = answer.result(120)
        print(json.dumps({"key": f"{id}-{n}", "id": stored["id"], "seq": stored["seq"]}), flush=True)
