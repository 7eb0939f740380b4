"""Watch the speech of an active call: flat JSON objects between `sse_init` and `sse_close`.

Ends with the call. Nothing is replayed, so a view that was cut has missed something: the exit status is 1 then.
"""

from __future__ import annotations

import json
from typing import Any

import local_run
import requests

TIMEOUTS = (5, 45)  # to connect; without a byte: three heartbeats of 15 s


def main() -> int:
    """Show the call; 0 when it has ended, 1 when it cannot be watched to its end."""
    place = local_run.place(local_run.parser(__doc__).parse_args(), "call")
    headers = {"Authorization": f"Bearer {place.key}"}
    try:
        with requests.get(
            f"{place.url}/atoms/v1/events",
            params={"callId": place.id},
            headers=headers,
            stream=True,
            timeout=TIMEOUTS,
        ) as response:
            if response.status_code != 200:
                local_run.say(f"{response.status_code}: {response.text}")
                return 1
            return watch(response)
    except requests.RequestException as error:
        local_run.say(f"The connection failed: {error}")
        return 1


def watch(response: requests.Response) -> int:
    """Show the events of an open stream; 0 after `sse_close`, 1 without."""
    # At LF alone: by itself iter_lines() breaks lines at U+2028, too, which may stand inside a text.
    for line in response.iter_lines(delimiter=b"\n"):
        if not line.startswith(b"data: "):
            continue  # the blank line behind each event, or a comment
        event = json.loads(line[6:])
        print(described(event), flush=True)
        if event["event_type"] == "sse_close":
            return 0
    local_run.say("Cut before the call's end.")
    return 1


def described(event: dict[str, Any]) -> str:
    """One line for one event."""
    kind = event["event_type"]
    if kind == "sse_init":
        return f"Watching {event['call_id']}"
    if kind == "sse_close":
        return "The call has ended"
    if kind == "user_interim_transcription":
        return f"user ...   {event['interim_transcription_text']}"
    if kind == "user_transcription":
        return f"user       {event['user_transcription_text']}"
    if kind == "tts_completed":
        latency = f" ({event['tts_latency']} ms)" if "tts_latency" in event else ""
        return f"agent      {event['tts_text']}{latency}"
    rest = {name: value for name, value in event.items() if name not in FRAME}
    return f"{kind} {json.dumps(rest, ensure_ascii=False)}"


FRAME = ("event_type", "event_id", "timestamp", "call_id")

if __name__ == "__main__":
    local_run.run(main)
