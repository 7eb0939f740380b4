"""Where the viewers beside this file look: address, key and stream, by default those of a running `make run`.

Python viewers import it; the shell ones run it, `local_run.py KIND [--url URL] [--key KEY] [ID]`, and read the line
that it prints: `URL KEY ID`. It needs the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
WAIT_SECONDS = 120.0  # for a stream to watch: time to start the demo in another terminal
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 10.0
NOT_RUNNING = "Twofold is not running here. Start it with `make run`, or set TWOFOLD_URL and TWOFOLD_KEY."
VARIABLES = "TWOFOLD_URL, TWOFOLD_KEY and TWOFOLD_ID are used for what is not given."


class Place(NamedTuple):
    """What to watch. url: of the product, without a slash at the end; key: an API key; id: the stream's."""

    url: str
    key: str
    id: str


def parser(about: str) -> argparse.ArgumentParser:
    """The options that all viewers have. about: what this one does."""
    made = argparse.ArgumentParser(description=about, epilog=VARIABLES)
    made.add_argument("id", nargs="?", help="of the stream (default: the newest open one, waited for)")
    made.add_argument("--url", help="of the product (default: of the running `make run`)")
    made.add_argument("--key", help="API key (default: of the running `make run`)")
    return made


def place(given: argparse.Namespace, kind: str) -> Place:
    """What to watch, by the options, else the environment, else the local run. Ends the program if there is nothing."""
    url = given.url or os.environ.get("TWOFOLD_URL") or _described("base_url")
    key = given.key or os.environ.get("TWOFOLD_KEY") or _described("workspace_key")
    url = url.rstrip("/")
    return Place(url, key, given.id or os.environ.get("TWOFOLD_ID") or _newest(url, key, kind))


def run(view: Callable[[], int]) -> NoReturn:
    """Run a viewer and end with its status; Ctrl-C and a closed pipe end it quietly."""
    try:
        sys.exit(view())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `… | head` has seen enough; what is still in the buffer must not raise again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def say(text: object) -> None:
    """Tell the person, apart from the events."""
    print(text, file=sys.stderr, flush=True)


def _described(name: str) -> str:
    directory = os.environ.get("TWOFOLD_VAR") or Path(__file__).resolve().parents[2] / "var"
    try:
        return str(json.loads((Path(directory) / "dev.json").read_text())[name])
    except (OSError, ValueError, KeyError):
        sys.exit(NOT_RUNNING)


def _newest(url: str, key: str, kind: str) -> str:
    """The id of the newest open stream of a kind."""
    deadline = time.monotonic() + WAIT_SECONDS
    told = False
    while time.monotonic() < deadline:
        found = _ask(f"{url}/v1/streams?kind={urllib.parse.quote(kind)}&status=open&limit=1", key)
        if found["data"]:
            return str(found["data"][0]["id"])
        if not told:
            say(f"Waiting for an open stream of kind {kind}; `make demo CONTRACT=…` opens one.")
            told = True
        time.sleep(LOOK_SECONDS)
    sys.exit(f"No stream of kind {kind} was opened within {WAIT_SECONDS:.0f} s.")


def _ask(url: str, key: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{url} answers {error.code}: {error.read(500).decode(errors='replace')}")
    except (OSError, ValueError) as error:
        sys.exit(f"{url} gives no answer ({error}). {NOT_RUNNING}")


def _main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        say(__doc__)
        return 2
    kind, *options = sys.argv[1:]
    print(*place(parser(__doc__).parse_args(options), kind))
    return 0


if __name__ == "__main__":
    run(_main)
