"""Watch the status of a meeting session, line by line.

Ends when the session has completed or failed, which the `close` event tells. The exit status is 1 without one.
"""

from __future__ import annotations

import json

import local_run
import requests

TIMEOUTS = (5, 45)  # to connect; without a byte: three keepalives of 15 s


def main() -> int:
    """Show the session; 0 when it has ended, 1 when it cannot be watched to its end."""
    place = local_run.place(local_run.parser(__doc__).parse_args(), "session")
    local_run.say(f"Watching session {place.id} at {place.url}")
    url = f"{place.url}/v1/meeting-buddy/sessions/{place.id}/stream"
    headers = {"Authorization": f"Bearer {place.key}"}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
            if response.status_code != 200:
                error = response.json()["error"]
                local_run.say(f"{response.status_code} {error['code']}: {error['message']}")
                return 1
            return watch(response)
    except requests.RequestException as error:
        local_run.say(f"The connection failed: {error}")
        return 1


def watch(response: requests.Response) -> int:
    """Show the events of an open stream; 0 after `close`, 1 without."""
    event_type = None
    for line in response.iter_lines(decode_unicode=True):
        if not line:
            event_type = None
            continue
        if line.startswith(":"):
            continue  # a keepalive
        if line.startswith("event: "):
            event_type = line[7:]
        elif line.startswith("data: "):
            data = json.loads(line[6:])
            if event_type == "status":
                who = f" ({data['participant_name']})" if "participant_name" in data else ""
                print(f"Status: {data.get('status', data.get('event'))}{who}", flush=True)
            elif event_type == "close":
                print("Stream closed:", data["reason"], flush=True)
                return 0
    local_run.say("Cut before the session's end.")
    return 1


if __name__ == "__main__":
    local_run.run(main)
