"""Watch a call's events over a WebSocket, and press keys in it.

Each frame is the envelope that webhooks carry. Ends with the call; comes back after a cut and when the server says that
it restarts, and tells you, since nothing is replayed.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from urllib.parse import quote

import local_run
import websockets
from websockets.sync.client import ClientConnection, connect

CONNECT_SECONDS = 5.0
AWAY_SECONDS = 30.0  # how long a server that restarts is waited for
AGAIN_SECONDS = 1.0
# Close codes, and after which of them to come back (RFC 6455 section 7.4.1 and the IANA registry).
ENDED, AWAY, CUT, RESTART, BUSY = 1000, 1001, 1006, 1012, 1013
COME_BACK = {AWAY: "The server goes away", CUT: "Cut", RESTART: "The server restarts", BUSY: "The server is busy"}


def main() -> int:
    """Show the call; 0 when it has ended, 1 when it cannot be watched to its end."""
    options = local_run.parser(__doc__)
    options.add_argument("--dtmf", metavar="DIGITS", help="press these keys once connected, such as 42#")
    options.add_argument("--keys", action="store_true", help="press what is typed, line by line")
    given = options.parse_args()
    viewer = Viewer(local_run.place(given, "call"), given.dtmf)
    if given.keys:
        threading.Thread(target=viewer.press_typed, daemon=True).start()
    return viewer.watch()


class Viewer:
    """One call, over as many connections as it takes. digits: the keys to press once connected, if any."""

    def __init__(self, place: local_run.Place, digits: str | None) -> None:
        self._place = place
        self._digits = digits
        self._connection: ClientConnection | None = None
        self._give_up_at = 0.0  # moved on by each connection, so a first one that fails is not tried again

    def watch(self) -> int:
        """Show the call until it ends; the exit status."""
        while True:
            code, reason = self._connect()
            if code == ENDED:
                return 0
            if code not in COME_BACK or time.monotonic() > self._give_up_at:
                local_run.say(f"Closed ({code}): {reason}" if code else reason)
                return 1
            local_run.say(f"{COME_BACK[code]}: connecting again. What happens meanwhile is in the webhooks alone.")
            time.sleep(AGAIN_SECONDS)

    def press(self, digits: str) -> None:
        """Press keys: they become a `call.control` event, which this view shows like any other."""
        if self._connection is None:
            local_run.say(f"Not connected; {digits} was not pressed.")
            return
        self._connection.send(json.dumps({"type": "dtmf", "data": {"digits": digits}}))

    def press_typed(self) -> None:
        """Press what is typed until the input ends."""
        # Unbuffered: a thread that holds the lock of a buffer would abort the interpreter when it ends.
        with open(0, "rb", buffering=0, closefd=False) as keyboard:
            for line in keyboard:
                if digits := line.decode(errors="replace").strip():
                    with suppress(websockets.ConnectionClosed):
                        self.press(digits)

    def _connect(self) -> tuple[int, str]:
        """Show what comes over one connection; why it is over: a close code, or 0, and a reason."""
        url = f"{self._place.url.replace('http', 'ws', 1)}/v1/calls/{quote(self._place.id, safe='')}/events"
        headers = {"Authorization": f"Bearer {self._place.key}"}
        try:
            with connect(url, additional_headers=headers, open_timeout=CONNECT_SECONDS) as self._connection:
                local_run.say(f"Watching call {self._place.id} at {self._place.url}")
                if self._digits:
                    self.press(self._digits)
                self._digits = None
                return show(self._connection)
        except websockets.InvalidStatus as error:
            return self._refused(error.response.status_code, (error.response.body or b"").decode(errors="replace"))
        except (OSError, websockets.WebSocketException) as error:
            return CUT, str(error)
        finally:
            if self._connection is not None:
                self._give_up_at = time.monotonic() + AWAY_SECONDS
            self._connection = None

    def _refused(self, status: int, body: str) -> tuple[int, str]:
        if status == 404 and self._give_up_at:
            return ENDED, ""  # while we were away
        return (BUSY if status in (429, 503) else 0), f"{status}: {body}"


def show(connection: ClientConnection) -> tuple[int, str]:
    """Show events until the connection closes; the close code and reason."""
    with suppress(websockets.ConnectionClosedError):  # what the code says anyway
        for text in connection:
            event = json.loads(text)
            if "error" in event:  # the answer to something that we sent
                local_run.say(f"Refused: {event['error']['detail']}")
            else:
                print(event["seq"], event["type"], json.dumps(event["data"], ensure_ascii=False), flush=True)
    return connection.close_code or CUT, connection.close_reason or ""


if __name__ == "__main__":
    local_run.run(main)
