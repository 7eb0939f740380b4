"""Where `twofold listen --forward-to` has come to: a small file that is replaced as a whole after each webhook."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.cli.command import CommandError, Status

_DIGEST_LETTERS = 16


@dataclass(frozen=True, slots=True)
class State:
    """server: its address; forward_to: the receiver's; cursor: of the feed, behind what the receiver has answered;
    secret: that was made for it, '' where another one signs."""

    server: str
    forward_to: str
    cursor: str
    secret: str = ""


class StateFile:
    """The file of one forwarding. Used by one process at a time; the lock ends with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lock(self) -> None:
        """Raises CommandError while another process forwards by this file, OSError."""
        from app.local.run_lock import AlreadyRunningError, RunLock

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            RunLock(self.path.with_name(self.path.name + ".lock")).acquire()
        except AlreadyRunningError as error:
            told = f"process {error.pid} forwards there already; end it, or keep another place: --state FILE"
            raise CommandError(told, Status.USAGE) from None

    def read(self, server: str, forward_to: str) -> State | None:
        """What was kept for this server and this receiver, None for nothing yet. Raises CommandError, OSError."""
        try:
            found: Any = json.loads(self.path.read_text(encoding="utf-8"))
            state = State(**{name: _text(found, name) for name in ("server", "forward_to", "cursor", "secret")})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            told = f"{self.path} is damaged; remove it, and say where to begin: --after 1h"
            raise CommandError(told) from None
        if (state.server, state.forward_to) != (server, forward_to):
            told = f"{self.path} is of another server or receiver ({state.server} to {state.forward_to})"
            raise CommandError(f"{told}; keep another place: --state FILE", Status.USAGE)
        return state

    def write(self, state: State) -> None:
        """Replace the file, which its owner alone can read. Raises OSError."""
        from app.local.private_file import write_private

        write_private(self.path, json.dumps(asdict(state)) + "\n")


def place(environ: Mapping[str, str], server: str, workspace: str | None, forward_to: str) -> Path:
    """The file for this server, workspace and receiver, where this user's programs keep their state."""
    digest = hashlib.sha256(json.dumps([server, workspace, forward_to]).encode()).hexdigest()[:_DIGEST_LETTERS]
    state = environ.get("XDG_STATE_HOME") or ""
    folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return folder / "twofold" / f"listen-{digest}.json"


def _text(found: Any, name: str) -> str:
    if not isinstance(found[name], str):
        raise TypeError(name)
    return str(found[name])
